//! Users (resource owners): names, what is known of them, and what changes them.

pub(crate) mod access;
pub(crate) mod admin;
mod change;
mod email;
mod list;
pub(crate) mod me;
mod reader;
mod sql;
mod username;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

pub use self::{
    change::{
        NewUser, UserPatch, change_password, create, delete, end_sessions, insert, patch, set_password, set_roles,
    },
    email::Email,
    list::{After, Filter, list},
    reader::Reader,
    username::Username,
};
pub(crate) use self::{
    change::{delete_in, patch_in, set_roles_in},
    list::{after, named},
    sql::UserRow,
};
use crate::{
    app::App,
    error::Error,
    ids::UserId,
    passwords::Password,
    roles::RoleName,
    store::{Conn, StoreError, run},
};

/// A user, with the roles and what they give.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
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
    #[schema(value_type = Vec<String>)]
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

fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "user", name: id.to_string() }
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
