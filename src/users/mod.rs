//! Users (resource owners): names, what is known of them, and what changes them.

mod email;
mod me;
mod reader;
mod sql;
mod username;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

pub use self::{email::Email, reader::Reader, username::Username};
pub(crate) use self::{
    me::{__path_show, show},
    sql::UserRow,
};
use crate::{
    app::App,
    audit::{self, Event, Origin},
    changes,
    error::{Code, Error, FieldError},
    ids::UserId,
    passwords::Password,
    roles::RoleName,
    store::{Conn, StoreError, run},
};

/// A user, with the roles and what they give.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// The `sub` of the user's tokens.
    pub id: UserId,
    /// What the user logs in with.
    pub username: Username,
    /// An address, with which the user may log in too.
    pub email: Option<Email>,
    /// What the user is called.
    pub display_name: Option<String>,
    /// Sorted.
    pub roles: Vec<RoleName>,
    /// Those of all the roles.
    #[serde(serialize_with = "scope_names")]
    pub scopes: Scopes,
    /// A disabled user gets no token and may not use those that are there.
    pub disabled: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When the user last gave the right password for a token.
    pub last_login_at: Option<DateTime<Utc>>,
    /// How often the user was changed.
    #[serde(skip)]
    pub(crate) revision: i64,
}

/// Scopes as an array of names, as JSON bodies outside OAuth have them.
pub(crate) fn scope_names<S: serde::Serializer>(scopes: &Scopes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

/// A user, and the hash that a login is checked against.
#[derive(Debug)]
pub struct Login {
    /// Who.
    pub user: User,
    /// A PHC string.
    pub password_hash: String,
}

/// A user to be made.
#[derive(Debug)]
pub struct NewUser {
    /// What the user logs in with.
    pub username: Username,
    /// An address.
    pub email: Option<Email>,
    /// What the user is called.
    pub display_name: Option<String>,
    /// The first password.
    pub password: Password,
    /// `member` is among them whether it is named here or not.
    pub roles: Vec<RoleName>,
}

impl NewUser {
    /// The rules that concern more than one field.
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        let own_address = |email: &Email| email.as_str().eq_ignore_ascii_case(self.username.as_str());
        if self.username.is_address() && !self.email.as_ref().is_some_and(own_address) {
            errors.push(FieldError::new("username", Code::Format, "a name with @ must be the user's own email"));
        }
        if let Err(error) = check_display_name(self.display_name.as_deref()) {
            errors.push(error);
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// What people call themselves: any Unicode but U+0000, at most 200 characters.
pub(crate) fn check_display_name(name: Option<&str>) -> Result<(), FieldError> {
    let Some(name) = name else { return Ok(()) };
    if name.contains('\0') {
        return Err(FieldError::new("display_name", Code::Format, "must not have U+0000"));
    }
    if (1..=200).contains(&name.chars().count()) {
        Ok(())
    } else {
        Err(FieldError::new("display_name", Code::Length, "must have 1 to 200 characters"))
    }
}

/// Makes a user.
pub async fn create(app: &App, new: &NewUser, origin: &Origin, now: DateTime<Utc>) -> Result<User, Error> {
    new.check()?;
    // Before the transaction: nobody should wait for a database lock while a password is hashed.
    let password_hash = app.passwords.hash(&new.password).await?;
    app.store.transact(async |conn| insert(conn, new, &password_hash, origin, now).await).await
}

/// Makes a user in a transaction that is under way.
pub(crate) async fn insert(
    conn: &mut Conn,
    new: &NewUser,
    password_hash: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    new.check()?;
    let id = UserId::new(now);
    run::execute!(
        conn,
        sql::INSERT,
        id,
        new.username.as_str(),
        new.email.as_ref().map(Email::as_str),
        new.display_name.as_deref(),
        password_hash,
        false,
        now
    )
    .map_err(taken)?;
    let mut roles = new.roles.clone();
    roles.push(RoleName::member());
    set_roles_of(conn, id, &roles).await?;
    let user = read(conn, id).await?.ok_or_else(|| not_found(&id))?;
    let details = serde_json::json!({"username": user.username, "roles": user.roles});
    audit::record(conn, Event::success("user.created").subject(&id).details(details), origin, now).await?;
    Ok(user)
}

fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Constraint("users_username_key") => Error::Taken { field: "username" },
        StoreError::Constraint("users_email_key") => Error::Taken { field: "email" },
        other => Error::Store(other),
    }
}

fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "user", name: id.to_string() }
}

async fn set_roles_of(conn: &mut Conn, id: UserId, roles: &[RoleName]) -> Result<(), Error> {
    run::execute!(conn, sql::DELETE_ROLES, id)?;
    let mut roles = roles.to_vec();
    roles.sort();
    roles.dedup();
    for role in roles {
        run::execute!(conn, sql::INSERT_ROLE, id, role.as_str()).map_err(|error| match error {
            StoreError::Constraint("user_roles_role_fkey") => {
                Error::invalid("roles", Code::Unknown, format!("there is no role {role}"))
            }
            other => Error::Store(other),
        })?;
    }
    Ok(())
}

/// One user.
pub(crate) async fn read(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    run::optional!(conn, UserRow, sql::BY_ID, id)?.map(User::try_from).transpose()
}

/// By name or, where the text has an `@`, by address. In one statement either way, whether there is such a user or not.
pub async fn find_login(app: &App, name: &str) -> Result<Option<Login>, StoreError> {
    let mut conn = app.store.read().await?;
    let name = name.to_ascii_lowercase();
    let sql = if name.contains('@') { sql::LOGIN_BY_EMAIL } else { sql::LOGIN_BY_USERNAME };
    let row = run::optional!(conn, sql::LoginRow, sql, name.as_str())?;
    row.map(|row| Ok(Login { password_hash: row.password_hash, user: row.user.try_into()? })).transpose()
}

/// By id, name or address.
pub async fn find(app: &App, name: &str) -> Result<User, Error> {
    let found = match UserId::parse(name) {
        Some(id) => read(&mut app.store.read().await?, id).await?,
        None => find_login(app, name).await?.map(|login| login.user),
    };
    found.ok_or_else(|| not_found(name))
}

/// All users in the order of their ids, after one of them: at most `limit`.
pub async fn list(app: &App, after: Option<UserId>, limit: i64) -> Result<Vec<User>, Error> {
    let mut conn = app.store.read().await?;
    let after = after.unwrap_or(UserId::from([0; 16]));
    let rows = run::all!(conn, UserRow, sql::LIST, after, limit)?;
    Ok(rows.into_iter().map(User::try_from).collect::<Result<_, _>>()?)
}

/// Gives a user these roles, and `member`, and no others.
pub async fn set_roles(
    app: &App,
    id: UserId,
    roles: &[RoleName],
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let roles = [roles, &[RoleName::member()]].concat();
    change(app, id, "user.roles_changed", origin, now, async |conn| set_roles_of(conn, id, &roles).await).await
}

/// Disables or enables a user. Disabling ends the user's sessions for good.
pub async fn set_disabled(
    app: &App,
    id: UserId,
    disabled: bool,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let kind = if disabled { "user.disabled" } else { "user.enabled" };
    change(app, id, kind, origin, now, async |conn| {
        run::execute!(conn, sql::SET_DISABLED, id, disabled)?;
        if disabled {
            crate::sessions::end_all_of_user(conn, id, now).await?;
        }
        Ok(())
    })
    .await
}

/// Gives a user a new password and ends all the user's sessions.
pub async fn set_password(
    app: &App,
    id: UserId,
    password: &Password,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let hash = app.passwords.hash(password).await?;
    change(app, id, "user.password_changed", origin, now, async |conn| {
        run::execute!(conn, sql::SET_PASSWORD, id, hash.as_str())?;
        crate::sessions::end_all_of_user(conn, id, now).await
    })
    .await
}

/// A change of one user and its event, in one transaction that holds the user's row first: a login that is under way
/// comes before it or after it.
async fn change(
    app: &App,
    id: UserId,
    kind: &'static str,
    origin: &Origin,
    now: DateTime<Utc>,
    work: impl AsyncFn(&mut Conn) -> Result<(), Error>,
) -> Result<User, Error> {
    let user = app
        .store
        .transact(async |conn| {
            if run::execute!(conn, sql::TOUCH, id, now)? == 0 {
                return Err(not_found(&id));
            }
            work(conn).await?;
            let user = read(conn, id).await?.ok_or_else(|| not_found(&id))?;
            let details = serde_json::json!({"username": user.username, "roles": user.roles});
            audit::record(conn, Event::success(kind).subject(&id).details(details), origin, now).await?;
            Ok(user)
        })
        .await?;
    changes::catch_up(app, &app.store).await?;
    Ok(user)
}

/// Notes a login, unless the user was disabled or got another password since the password was checked: says whether.
pub(crate) async fn logged_in(conn: &mut Conn, login: &Login, now: DateTime<Utc>) -> Result<bool, StoreError> {
    Ok(run::execute!(conn, sql::LOGGED_IN, login.user.id, login.password_hash.as_str(), now, false)? == 1)
}

/// Replaces a hash that was made with other parameters, unless it was changed meanwhile.
pub(crate) async fn rehash(app: &App, login: &Login, password: &Password) -> Result<(), Error> {
    let hash = app.passwords.hash(password).await?;
    let mut conn = app.store.write().await?;
    run::execute!(conn, sql::REPLACE_HASH, login.user.id, login.password_hash.as_str(), hash.as_str())?;
    Ok(())
}
