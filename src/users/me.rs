//! `GET /users/me`: one's own account.

use actix_web::{HttpResponse, http::header::CACHE_CONTROL};
use chrono::{DateTime, Utc};
use grantd_guard::Scope;
use serde::Serialize;

use super::{Email, User, Username};
use crate::{ids::UserId, principal::Me, roles::RoleName};

/// What a user sees of the own account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Me)]
pub(crate) struct MeAnswer<'a> {
    /// The `sub` of the user's tokens.
    id: UserId,
    username: &'a Username,
    email: Option<&'a Email>,
    display_name: Option<&'a str>,
    roles: &'a [RoleName],
    /// Those of all the roles, whatever the token has of them.
    scopes: Vec<&'a Scope>,
    created_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
}

impl<'a> From<&'a User> for MeAnswer<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id,
            username: &user.username,
            email: user.email.as_ref(),
            display_name: user.display_name.as_deref(),
            roles: &user.roles,
            scopes: user.scopes.iter().collect(),
            created_at: user.created_at,
            last_login_at: user.last_login_at,
        }
    }
}

/// One's own account
///
/// For users, with the scope `account`.
#[utoipa::path(
    get,
    path = "/users/me",
    operation_id = "show_me",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    responses((status = 200, description = "The account", body = MeAnswer<'_>))
)]
pub(crate) async fn show(me: Me) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(MeAnswer::from(&*me.user))
}
