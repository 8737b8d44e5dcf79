//! `/admin/users/{id}/password`, `…/roles` and `…/sessions`: how a user gets in, and what the user may do then.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::Deserialize;

use super::admin::id;
use crate::{
    app::App,
    error::{Code, Error},
    http::{
        body::{self, Members},
        no_store,
        problem::Problem,
    },
    names::RoleName,
    principal::{Permit, UsersWrite},
    secret::Password,
    users::{self, User},
};

/// A new password.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = SetPassword, example = json!({"password": "correct horse battery"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    /// At least 8 characters, at most 1,024 bytes.
    #[schema(required = true, nullable = false, format = "password", min_length = 8, max_length = 1024)]
    password: Option<String>,
}

/// Give a user a new password
///
/// It ends all the user's sessions.
#[utoipa::path(
    put,
    path = "/admin/users/{id}/password",
    operation_id = "set_user_password",
    tag = "administration",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    request_body(content = PasswordBody),
    responses(
        (status = 204, description = "It counts from now on"),
        (status = 404, description = "There is no such user"),
    ),
)]
pub(crate) async fn set_password(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let PasswordBody { password } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let password = password.ok_or_else(|| Error::invalid("password", Code::Required, "is required"))?;
    let password = Password::chosen("password", &password).map_err(Error::from)?;
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    let hash = app.passwords.hash(&password).await?;
    app.write(async |tx| users::set_password(tx, id, &hash, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

/// The roles that a user is to have.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = SetRoles, example = json!({"roles": ["member"]}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RolesBody {
    /// All of them; `member` is kept in any case.
    #[schema(required = true, nullable = false)]
    roles: Option<Vec<String>>,
}

/// Replace a user's roles
///
/// Whoever does so has all the scopes that the user has, and those that the roles give.
#[utoipa::path(
    put,
    path = "/admin/users/{id}/roles",
    operation_id = "set_user_roles",
    tag = "administration",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    request_body(content = RolesBody),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 404, description = "There is no such user"),
        (status = 409, description = "Nobody would keep `users:write`"),
    ),
)]
pub(crate) async fn set_roles(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let RolesBody { roles } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let roles = roles.ok_or_else(|| Error::invalid("roles", Code::Required, "is required"))?;
    let roles: Vec<_> = Members::list(&roles, str::parse::<RoleName>).map_err(Error::from)?;
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    let user = app.write(async |tx| users::set_roles(tx, id, &roles, by, now).await).await?;
    Ok(no_store(StatusCode::OK).json(user))
}

/// End all of a user's sessions
///
/// Their tokens are good for nothing from then on.
#[utoipa::path(
    delete,
    path = "/admin/users/{id}/sessions",
    operation_id = "end_user_sessions",
    tag = "administration",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 204, description = "They have ended"),
        (status = 404, description = "There is no such user"),
    ),
)]
pub(crate) async fn end_sessions(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    app.write(async |tx| users::end_sessions(tx, id, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
