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
        set_own_password, set_password, set_roles, unlock,
    },
};
pub(crate) use self::{
    list::{count_with_role, count_with_scope, list_by_id, list_by_names, list_logins},
    sql::{UserRow, user_columns},
    write::{check_own_address, create_first, lock, must_have, note_login, replace_hash},
};
use crate::{
    error::Error,
    ids::UserId,
    names::{DisplayName, Email, RoleName, Username},
    passwords::Personal,
    store::{Conn, StoreError, conn},
};

/// A user, with roles and their scopes.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct User {
    /// The `sub` of the user's tokens.
    pub id: UserId,
    /// Name that the user logs in with.
    pub username: Username,
    /// Email address. The user can log in with it too.
    pub email: Option<Email>,
    /// Display name.
    #[schema(value_type = Option<String>)]
    pub display_name: Option<DisplayName>,
    /// Roles, sorted by name.
    pub roles: Vec<RoleName>,
    /// Scopes of all roles.
    #[serde(serialize_with = "crate::roles::scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// A disabled user is issued no tokens, and existing ones are revoked.
    pub disabled: bool,
    /// When the user was created.
    pub created_at: DateTime<Utc>,
    /// When the user was last updated.
    pub updated_at: DateTime<Utc>,
    /// When the user last logged in.
    pub last_login_at: Option<DateTime<Utc>>,
}

impl User {
    /// Returns what the user's password must not be.
    #[must_use]
    pub fn personal(&self) -> Personal<'_> {
        Personal { username: &self.username, email: self.email.as_ref(), display_name: self.display_name.as_ref() }
    }
}

/// A user with the password hash, for a login.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: User,
    /// The password hash, as [`crate::passwords::Passwords::verify`] takes it.
    pub password_hash: String,
    /// Device tokens that were issued up to this time are invalid.
    pub devices_since: Option<DateTime<Utc>>,
}

impl Login {
    /// Returns whether this is a name of the user for logins: the username or, if it has an `@`, the email.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let own = if name.contains('@') {
            self.user.email.as_ref().map(Email::as_str)
        } else {
            Some(self.user.username.as_str())
        };
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Returns the error for a user that does not exist.
pub(crate) fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "user", name: id.to_string() }
}

/// Returns the user with this id, if it exists.
pub(crate) async fn read(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    conn::optional!(conn, UserRow, sql::BY_ID, id)?.map(User::try_from).transpose()
}

/// Returns a user by user name or, if the text has an `@`, by e-mail, with the password hash.
pub async fn find_login(conn: &mut Conn, name: &str) -> Result<Option<Login>, StoreError> {
    // One statement in every case: the response time must not reveal whether the user exists, or by which column.
    let name = name.to_ascii_lowercase();
    let row = if name.contains('@') {
        conn::optional!(conn, sql::LoginRow, sql::LOGIN_BY_EMAIL, name.as_str())?
    } else {
        conn::optional!(conn, sql::LoginRow, sql::LOGIN_BY_USERNAME, name.as_str())?
    };
    row.map(Login::try_from).transpose()
}

/// Returns a user by id, user name or e-mail.
pub async fn find(conn: &mut Conn, name: &str) -> Result<User, Error> {
    let found = match UserId::parse(name) {
        Some(id) => read(conn, id).await?,
        None => find_login(conn, name).await?.map(|login| login.user),
    };
    found.ok_or_else(|| not_found(name))
}
