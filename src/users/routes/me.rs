//! `/users/me`: the current user; and self-registration.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use chrono::{DateTime, Utc};
use grantd_guard::Scope;
use serde::{Deserialize, Serialize};

use super::admin::Account;
use crate::{
    app::App,
    authority::Authority,
    error::Error,
    http::{
        body::{self, Members},
        no_store,
        problem::Problem,
        rate_limit,
    },
    ids::UserId,
    login,
    names::{DisplayName, Email, RoleName, Username},
    patch::Patch,
    principal::{self, Me, refuse_api_key},
    secret::Password,
    users::{self, User, UserPatch},
};

/// The current user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Me)]
pub(crate) struct MeAnswer<'a> {
    /// The `sub` of the user's tokens.
    id: UserId,
    username: &'a Username,
    email: Option<&'a Email>,
    display_name: Option<&'a str>,
    roles: &'a [RoleName],
    /// Scopes of all roles, whether or not the token has them.
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
            display_name: user.display_name.as_ref().map(DisplayName::as_str),
            roles: &user.roles,
            scopes: user.scopes.iter().collect(),
            created_at: user.created_at,
            last_login_at: user.last_login_at,
        }
    }
}

/// Get the current user
///
/// Requires the scope `account` and a token of a user.
#[utoipa::path(
    get,
    path = "/users/me",
    operation_id = "show_me",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    responses((status = 200, description = "The user", body = MeAnswer<'_>))
)]
pub(crate) async fn show(me: Me) -> HttpResponse {
    no_store(StatusCode::OK).json(MeAnswer::from(&*me.user))
}

/// Changes to the current user. Absent members stay unchanged.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = MePatch, example = json!({"display_name": "Mária"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    /// Null to remove it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    display_name: Patch<String>,
    /// Null to remove it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Patch<String>,
}

impl PatchBody {
    fn check(self) -> Result<UserPatch, Error> {
        let mut members = Members::default();
        let patch = UserPatch {
            email: members.patch(self.email.map(|email| email.parse())),
            display_name: members.patch(self.display_name.map(|name| name.parse())),
            ..UserPatch::default()
        };
        members.finish(Some(patch))
    }
}

/// Update the current user
///
/// JSON Merge Patch (RFC 7396).
#[utoipa::path(
    patch,
    path = "/users/me",
    operation_id = "change_me",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    request_body(content(
        (PatchBody = "application/merge-patch+json"),
        (PatchBody = "application/json"),
    )),
    responses(
        (status = 200, description = "The user", body = MeAnswer<'_>),
        (status = 409, description = "Email already in use"),
    ),
)]
pub(crate) async fn change(
    me: Me,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: PatchBody = body::merge_patch(&req, body).await?;
    let me = me.again(&req).await?;
    if !matches!(body.email, Patch::Keep) {
        refuse_api_key(&me.authority)?;
    }
    let (id, patch, by, now) = (me.user.id, body.check()?, &me.authority, app.now());
    let user = app.write(async |tx| users::patch(tx, id, &patch, by, now).await).await?;
    Ok(no_store(StatusCode::OK).json(MeAnswer::from(&user)))
}

/// A password change.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = ChangePassword, example = json!({"current_password": "correct horse battery", "new_password": "seven purple staplers"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    #[schema(required = true, nullable = false, format = "password")]
    current_password: Option<String>,
    /// At least as many characters as the setting `GRANTD_PASSWORD_MIN_LENGTH` says (8), and at most 1,024 bytes.
    #[schema(required = true, nullable = false, format = "password", min_length = 8, max_length = 1024)]
    new_password: Option<String>,
}

/// Change the current user's password
///
/// Ends all other sessions of the user. A new password that is a name of the user, common or weak is refused.
#[utoipa::path(
    put,
    path = "/users/me/password",
    operation_id = "change_my_password",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    request_body(content = PasswordBody),
    responses((status = 204, description = "Password changed")),
)]
pub(crate) async fn change_password(
    me: Me,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    refuse_api_key(&me.authority)?;
    let PasswordBody { current_password, new_password } = body::json(&req, body).await?;
    let me = me.again(&req).await?;
    let mut members = Members::default();
    let current = current_password.map(|password| Password::presented("current_password", &password));
    let current = members.required("current_password", current);
    let new =
        members.required("new_password", new_password.map(|text| app.passwords.new_password("new_password", &text)));
    let (current, new) = members.finish(current.zip(new))?;
    let Me { user, session, authority: by, .. } = &me;
    let now = app.now();
    let current_hash = users::password_hash(&mut app.store.read().await?, user.id).await?;
    if !login::verify_current(&app, user, &current, &current_hash, &by.origin, now).await? {
        let mut conn = app.store.write().await?;
        return Err(users::record_wrong_password(&mut conn, user, by, now).await?.into());
    }
    let new_hash = app.passwords.hash_new(&new, user.personal()).await?;
    app.write(async |tx| users::set_own_password(tx, user, &current_hash, &new_hash, *session, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

/// A user to register.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = Registration, example = json!({"username": "peter", "password": "correct horse battery"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrationBody {
    /// 1 to 64 characters of `[A-Za-z0-9._@+-]`, unique and case-insensitive. A username with `@` must equal the email.
    #[schema(required = true, nullable = false, pattern = "^[A-Za-z0-9._@+-]{1,64}$")]
    username: Option<String>,
    /// Unique and case-insensitive.
    #[schema(format = "email")]
    email: Option<String>,
    /// At least as many characters as the setting `GRANTD_PASSWORD_MIN_LENGTH` says (8), and at most 1,024 bytes.
    #[schema(required = true, nullable = false, format = "password", min_length = 8, max_length = 1024)]
    password: Option<String>,
    display_name: Option<String>,
}

/// Register a user
///
/// Requires the setting `GRANTD_REGISTRATION`. Self-registration is disabled by default, and this path then answers 404. A
/// network may send ten valid requests in an hour.
#[utoipa::path(
    post,
    path = "/users",
    operation_id = "register",
    tag = "account",
    security(()),
    request_body(content = RegistrationBody),
    responses(
        (status = 201, description = "The user", body = User, headers(("Location" = String))),
        (status = 404, description = "Self-registration is disabled"),
        (status = 409, description = "Username or email already in use"),
    ),
)]
pub(crate) async fn register(
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    if !app.config.registration {
        return Err(Problem::not_found("self-registration is disabled"));
    }
    let RegistrationBody { username, email, password, display_name } = body::json(&req, body).await?;
    let account = Account::check(&app.passwords, username, email, password, display_name, None)?;
    // Counts what is valid, before it is hashed and before it reveals whether the name is taken.
    account.check_password(&app.passwords).await?;
    rate_limit::count_registration(&req, &app)?;
    // The caller has no scopes to grant: the user gets the role `member` only.
    let by = Authority::of(principal::origin(&req, &app), grantd_guard::Scopes::default());
    let (new, now) = (account.hash(&app.passwords).await?, app.now());
    let user = app.write(async |tx| users::create(tx, &new, &by, now).await).await?;
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, "/users/me")).json(user))
}
