//! `/admin/users`.

use std::collections::HashSet;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use serde::Deserialize;

use crate::{
    app::App,
    error::{Code, Error, FieldError},
    http::{
        body::{self, Members},
        no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
        query::Query,
    },
    ids::UserId,
    names::{DisplayName, Email, RoleName, Username},
    passwords::{NewPassword, Passwords, Personal},
    patch::Patch,
    principal::{Permit, UsersRead, UsersWrite, refuse_api_key},
    roles,
    users::{self, After, Filter, NewUser, User, UserPatch},
};

/// Maximum length of `q`, in bytes. No username or email is longer.
const LONGEST_Q: usize = 254;

/// List users
///
/// Sorted by id, and with `q` by username or email.
#[utoipa::path(
    get,
    path = "/admin/users",
    operation_id = "list_users",
    tag = "users",
    security(("oauth2" = ["users:read"]), ("bearer" = [])),
    params(
        ("q" = Option<String>, Query, description = "Prefix of the username or, if it contains `@`, of the email. Case-insensitive"),
        ("role" = Option<String>, Query, description = "Only users with this role"),
        ("disabled" = Option<bool>, Query, description = "Only users that are (`true`) or are not (`false`) disabled"),
        Paging,
    ),
    responses((status = 200, description = "A page of users", body = Page<User>)),
)]
pub(crate) async fn list(_: Permit<UsersRead>, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req)?;
    let mut members = Members::default();
    let filter = filter(&query, &mut members);
    let list = match &filter.q {
        None => List::Users,
        Some(_) if filter.is_of_emails() => List::UsersByEmail,
        Some(_) => List::UsersByUsername,
    };
    let request = PageRequest::from_query(&query, &mut members, list, |key| match &filter.q {
        None => page::id(key).map(After::Id),
        // A cursor of another search would begin outside this one.
        Some(q) => page::text(key).filter(|text| text.starts_with(&q.to_ascii_lowercase())).map(After::Text),
    });
    members.finish(Some(()))?;
    let conn = &mut app.store.read().await?;
    let users = users::list(conn, &filter, request.after.clone(), request.fetch_limit()).await?;
    let key = |user: &User| match filter.after(user) {
        After::Text(text) => text.into_bytes(),
        After::Id(id) => id.as_bytes().to_vec(),
    };
    Ok(no_store(StatusCode::OK).json(request.page(users, key)))
}

fn filter(query: &Query, members: &mut Members) -> Filter {
    Filter {
        q: members.parameter(query, "q", |q| {
            let too_long = || FieldError::new("q", Code::Length, "must have at most 254 bytes");
            (q.len() <= LONGEST_Q).then(|| q.to_owned()).ok_or_else(too_long)
        }),
        role: members.parameter(query, "role", |role| {
            role.parse::<RoleName>().map(String::from).map_err(|error| error.of_field("role"))
        }),
        disabled: members.parameter(query, "disabled", |disabled| {
            disabled.parse().map_err(|_| FieldError::new("disabled", Code::Format, "must be true or false"))
        }),
    }
}

/// Parses the id in a path. A malformed id is an unknown user.
pub(crate) fn id(text: &str) -> Result<UserId, Problem> {
    let detail = "the path takes the id of a user; find it with GET /admin/users?q=NAME";
    UserId::parse(text).ok_or_else(|| Problem::not_found(detail))
}

/// Get a user
#[utoipa::path(
    get,
    path = "/admin/users/{id}",
    operation_id = "get_user",
    tag = "users",
    security(("oauth2" = ["users:read"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 404, description = "User not found"),
    ),
)]
pub(crate) async fn get(
    _: Permit<UsersRead>,
    app: web::Data<App>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = id(&path)?;
    let user = app.users.read(id).await?.ok_or_else(|| users::not_found(&id))?;
    Ok(no_store(StatusCode::OK).json(&*user))
}

/// A user to create.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewUser, example = json!({
    "username": "maria", "email": "maria@example.com", "password": "correct horse battery", "display_name": "Mária",
    "roles": ["member"]
}))]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBody {
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
    /// `member` is always added.
    roles: Option<Vec<String>>,
}

impl NewBody {
    /// `known`: all roles.
    fn check(self, passwords: &Passwords, known: &HashSet<String>) -> Result<Account, Error> {
        let one = |name: &str| {
            let role: RoleName = name.parse()?;
            let unknown = || FieldError::new("roles", Code::Unknown, format!("role {role} does not exist"));
            known.contains(name).then(|| role.clone()).ok_or_else(unknown)
        };
        let roles = self.roles.map(|roles| Members::list(&roles, one));
        Account::check(passwords, self.username, self.email, self.password, self.display_name, roles)
    }
}

/// A user to create, whose password is not hashed yet.
pub(super) struct Account {
    username: Username,
    email: Option<Email>,
    display_name: Option<DisplayName>,
    password: NewPassword,
    roles: Vec<RoleName>,
}

impl Account {
    /// Checks the members of a body, all at once.
    pub(super) fn check(
        passwords: &Passwords,
        username: Option<String>,
        email: Option<String>,
        password: Option<String>,
        display_name: Option<String>,
        roles: Option<Result<Vec<RoleName>, FieldError>>,
    ) -> Result<Self, Error> {
        let mut members = Members::default();
        let username = members.required("username", username.map(|name| name.parse::<Username>()));
        let email = members.optional(email.map(|email| email.parse::<Email>()));
        members.optional(username.as_ref().map(|name| users::check_own_address(name, email.as_ref())));
        let password = members.required("password", password.map(|text| passwords.new_password("password", &text)));
        let display_name = members.optional(display_name.map(|name| name.parse()));
        let roles = members.optional(roles).unwrap_or_default();
        let (username, password) = members.finish(username.zip(password))?;
        Ok(Self { username, email, display_name, password, roles })
    }

    fn personal(&self) -> Personal<'_> {
        Personal { username: &self.username, email: self.email.as_ref(), display_name: self.display_name.as_ref() }
    }

    /// Checks the password without a hash.
    pub(super) async fn check_password(&self, passwords: &Passwords) -> Result<(), Error> {
        passwords.check_new(&self.password, self.personal()).await
    }

    /// Checks and hashes the password. Done before the transaction, which would hold its locks during the hash.
    pub(super) async fn hash(self, passwords: &Passwords) -> Result<NewUser, Error> {
        let password_hash = passwords.hash_new(&self.password, self.personal()).await?;
        let Self { username, email, display_name, roles, .. } = self;
        Ok(NewUser { username, email, display_name, password_hash, roles })
    }
}

/// Create a user
///
/// The caller must have all scopes of the roles.
#[utoipa::path(
    post,
    path = "/admin/users",
    operation_id = "create_user",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    request_body(content = NewBody),
    responses(
        (status = 201, description = "The user", body = User, headers(("Location" = String))),
        (status = 409, description = "Username or email already in use"),
    ),
)]
pub(crate) async fn create(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    // It sets a password, with which the user can log in.
    refuse_api_key(&permit.authority)?;
    let body: NewBody = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let roles = roles::all_roles(&mut app.store.read().await?).await?;
    let (by, now) = (&permit.authority, app.now());
    let new = body.check(&app.passwords, &roles)?.hash(&app.passwords).await?;
    let user = app.write(async |tx| users::create(tx, &new, by, now).await).await?;
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, format!("/admin/users/{}", user.id))).json(user))
}

/// Changes to a user. Absent members stay unchanged.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = UserPatch, example = json!({"display_name": "Mária", "disabled": false}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    username: Patch<String>,
    /// Null to remove it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Patch<String>,
    /// Null to remove it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    display_name: Patch<String>,
    /// Disabling a user ends all sessions. Enabling it does not restore them.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    disabled: Patch<bool>,
}

impl PatchBody {
    fn check(self) -> Result<UserPatch, Error> {
        let mut members = Members::default();
        let patch = UserPatch {
            username: members.unless_null("username", self.username.map(|name| name.parse())),
            email: members.patch(self.email.map(|email| email.parse())),
            display_name: members.patch(self.display_name.map(|name| name.parse())),
            disabled: members.unless_null("disabled", self.disabled.map(Ok)),
        };
        members.finish(Some(patch))
    }
}

/// Update a user
///
/// JSON Merge Patch (RFC 7396). The caller must have all of the user's scopes.
#[utoipa::path(
    patch,
    path = "/admin/users/{id}",
    operation_id = "change_user",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    request_body(content(
        (PatchBody = "application/merge-patch+json"),
        (PatchBody = "application/json"),
    )),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 404, description = "User not found"),
        (status = 409, description = "Username or email already in use, or last enabled user with `users:write`"),
    ),
)]
pub(crate) async fn change(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: PatchBody = body::merge_patch(&req, body).await?;
    let permit = permit.again(&req).await?;
    if !matches!(body.email, Patch::Keep) {
        refuse_api_key(&permit.authority)?;
    }
    let (id, change, by, now) = (id(&path)?, body.check()?, &permit.authority, app.now());
    let user = app.write(async |tx| users::patch(tx, id, &change, by, now).await).await?;
    Ok(no_store(StatusCode::OK).json(user))
}

/// Delete a user
///
/// Ends all sessions of the user and revokes their tokens.
#[utoipa::path(
    delete,
    path = "/admin/users/{id}",
    operation_id = "delete_user",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    responses(
        (status = 204, description = "User deleted"),
        (status = 404, description = "User not found"),
        (status = 409, description = "Last enabled user with `users:write`"),
    ),
)]
pub(crate) async fn delete(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (id, by, now) = (id(&path)?, &permit.authority, app.now());
    app.write(async |tx| users::delete(tx, id, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
