//! `/admin/users/{id}/password`, `…/roles` and `…/sessions`.

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
    passwords::Turn,
    principal::{Permit, UsersWrite, refuse_api_key},
    users::{self, User},
};

/// The new password of a user.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = SetPassword, example = json!({"password": "correct horse battery"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    /// At least as many characters as the setting `GRANTD_PASSWORD_MIN_LENGTH` says (8), and at most 1,024 bytes.
    #[schema(required = true, nullable = false, format = "password", min_length = 8, max_length = 1024)]
    password: Option<String>,
}

/// Set a user's password
///
/// Ends all sessions of the user.
#[utoipa::path(
    put,
    path = "/admin/users/{id}/password",
    operation_id = "set_user_password",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    request_body(content = PasswordBody),
    responses(
        (status = 204, description = "Password changed"),
        (status = 404, description = "User not found"),
    ),
)]
pub(crate) async fn set_password(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    refuse_api_key(&permit.authority)?;
    let PasswordBody { password } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let password = password.ok_or_else(|| Error::invalid("password", Code::Required, "is required"))?;
    let password = app.passwords.new_password("password", &password).map_err(Error::from)?;
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    let user = app.users.read(id).await?.ok_or_else(|| users::not_found(&id))?;
    let hash = app.passwords.hash_new(&password, user.personal(), &Turn::known()).await?;
    app.write(async |tx| users::set_password(tx, id, &hash, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

/// Desired roles of a user.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = SetRoles, example = json!({"roles": ["member"]}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RolesBody {
    /// All roles of the user. `member` cannot be removed.
    #[schema(required = true, nullable = false)]
    roles: Option<Vec<String>>,
}

/// Replace a user's roles
///
/// The caller must have all scopes of the user and of the new roles.
#[utoipa::path(
    put,
    path = "/admin/users/{id}/roles",
    operation_id = "set_user_roles",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    request_body(content = RolesBody),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 404, description = "User not found"),
        (status = 409, description = "Last enabled user with `users:write`"),
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
/// Revokes all tokens of these sessions.
#[utoipa::path(
    delete,
    path = "/admin/users/{id}/sessions",
    operation_id = "end_user_sessions",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    responses(
        (status = 204, description = "Sessions ended"),
        (status = 404, description = "User not found"),
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

/// Unlock a user
///
/// Clears the failed logins of the user, from all networks and devices.
#[utoipa::path(
    post,
    path = "/admin/users/{id}/unlock",
    operation_id = "unlock_user",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    responses(
        (status = 204, description = "User unlocked"),
        (status = 404, description = "User not found"),
    ),
)]
pub(crate) async fn unlock(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    app.write(async |tx| users::unlock(tx, id, &app.throttle, by, now).await).await?;
    app.throttle.forget_refusals();
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
