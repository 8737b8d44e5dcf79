//! Users (resource owners).

mod list;
mod reader;
pub(crate) mod routes;
pub(crate) mod sql;
mod write;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

pub use self::{
    list::{After, Filter, list},
    reader::Reader,
    write::{
        NewUser, UserPatch, create, delete, end_sessions, password_hash, patch, record_wrong_password,
        set_own_password, set_password, set_roles,
    },
};
pub(crate) use self::{
    list::{count_with_role, count_with_scope, list_by_id, list_by_names},
    sql::UserRow,
    write::{check_own_address, note_login, replace_hash},
};
use crate::{
    error::Error,
    ids::UserId,
    names::{DisplayName, Email, RoleName, Username},
    store::{Conn, StoreError, conn},
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
    #[schema(value_type = Option<String>)]
    pub display_name: Option<DisplayName>,
    /// Sorted.
    pub roles: Vec<RoleName>,
    /// Those of all the roles.
    #[serde(serialize_with = "crate::roles::scope_names")]
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
}

/// A user, and the hash that a login is checked against.
pub struct Login {
    /// Who.
    pub user: User,
    /// A PHC string.
    pub password_hash: String,
}

/// Returns the error for a user that does not exist.
pub(crate) fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "user", name: id.to_string() }
}

/// Returns a user.
pub(crate) async fn read(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    conn::optional!(conn, UserRow, sql::BY_ID, id)?.map(User::try_from).transpose()
}

/// Returns a user by user name or, if the text has an `@`, by e-mail, with the password hash. One statement either way,
/// whether there is such a user or not.
pub async fn find_login(conn: &mut Conn, name: &str) -> Result<Option<Login>, StoreError> {
    let name = name.to_ascii_lowercase();
    let sql = if name.contains('@') { sql::LOGIN_BY_EMAIL } else { sql::LOGIN_BY_USERNAME };
    let row = conn::optional!(conn, sql::LoginRow, sql, name.as_str())?;
    row.map(|row| Ok(Login { password_hash: row.password_hash, user: row.user.try_into()? })).transpose()
}

/// Returns a user by id, user name or e-mail.
pub async fn find(conn: &mut Conn, name: &str) -> Result<User, Error> {
    let found = match UserId::parse(name) {
        Some(id) => read(conn, id).await?,
        None => find_login(conn, name).await?.map(|login| login.user),
    };
    found.ok_or_else(|| not_found(name))
}
