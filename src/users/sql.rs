//! Statements on users, and the conversion of their rows.

use chrono::{DateTime, Utc};

use super::{Login, User};
use crate::{ids::UserId, store::StoreError};

/// The columns of [`UserRow`], with the roles and their scopes. The table of users is named `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.username, u.email, u.display_name, u.disabled, u.created_at, u.updated_at, u.last_login_at, \
         (SELECT string_agg(ur.role, ' ') FROM user_roles ur WHERE ur.user_id = u.id) AS roles, \
         (SELECT string_agg(r.scopes, ' ') FROM user_roles ur JOIN roles r ON r.name = ur.role \
          WHERE ur.user_id = u.id) AS scopes"
    };
}
pub(crate) use user_columns;

pub(super) const BY_ID: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1");

/// The number of users that [`BY_IDS`] and [`BY_USERNAMES`] read; unused parameters repeat a value.
pub(super) const BATCH: usize = 16;
pub(super) const BY_IDS: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u WHERE u.id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);

pub(super) const LOGIN_BY_ID: &str =
    concat!("SELECT ", user_columns!(), ", u.password_hash, u.devices_since FROM users u WHERE u.id = $1");
pub(super) const LOGINS_BY_IDS: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", u.password_hash, u.devices_since FROM users u \
     WHERE u.id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);

/// Reads users by name, in lower case.
pub(super) const BY_USERNAMES: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u WHERE lower(u.username) \
     IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);

pub(super) const LOGIN_BY_USERNAME: &str =
    concat!("SELECT ", user_columns!(), ", u.password_hash, u.devices_since FROM users u WHERE lower(u.username) = $1");
pub(super) const LOGIN_BY_EMAIL: &str =
    concat!("SELECT ", user_columns!(), ", u.password_hash, u.devices_since FROM users u WHERE lower(u.email) = $1");

pub(super) const PASSWORD_HASH: &str = "SELECT password_hash FROM users WHERE id = $1";

/// A page of users, read in the order of one index: `$1` is the cursor, `$2` the page size. Other filters are checked row
/// by row; NULL: no filter.
pub(super) const LIST: &str =
    concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2");
/// A page of users with their password hashes.
pub(super) const LIST_LOGINS: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", u.password_hash, u.devices_since FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2"
);
// A range of `users_disabled_idx`: with `disabled = $3`, a generic plan of Postgres may scan the primary key, and then
// reads all users if few are disabled.
pub(super) const LIST_DISABLED: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u WHERE (u.disabled, u.id) > ($3, $1) AND u.disabled <= $3 ORDER BY u.disabled, u.id LIMIT $2"
);
// The LIMIT comes before the join, so that Postgres expects few rows and looks up each. A merge join would read the users
// from the first.
pub(super) const LIST_ROLE: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM (SELECT ur.user_id FROM user_roles ur WHERE ur.user_id > $1 AND ur.role = $3 \
     AND ($4 IS NULL OR $4 = (SELECT one.disabled FROM users one WHERE one.id = ur.user_id)) ORDER BY ur.user_id LIMIT $2) \
     AS of_role JOIN users u ON u.id = of_role.user_id ORDER BY of_role.user_id"
);
/// Names from `$1` up to, but not including, `$5`.
pub(super) const LIST_USERNAME: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u WHERE lower(u.username) >= $1 AND lower(u.username) < $5 AND ($4 IS NULL OR u.disabled = $4) \
     AND ($3 IS NULL OR $3 = (SELECT of_role.role FROM user_roles of_role WHERE of_role.user_id = u.id AND of_role.role = $3)) \
     ORDER BY lower(u.username) LIMIT $2"
);
pub(super) const LIST_EMAIL: &str = concat!(
    "SELECT ",
    user_columns!(),
    " FROM users u WHERE lower(u.email) >= $1 AND lower(u.email) < $5 AND ($4 IS NULL OR u.disabled = $4) \
     AND ($3 IS NULL OR $3 = (SELECT of_role.role FROM user_roles of_role WHERE of_role.user_id = u.id AND of_role.role = $3)) \
     ORDER BY lower(u.email) LIMIT $2"
);

pub(super) const COUNT_WITH_ROLE: &str = "SELECT count(*) FROM user_roles WHERE role = $1";
/// A scope stands in a role once, between spaces.
pub(super) const COUNT_WITH_SCOPE: &str = "SELECT count(DISTINCT ur.user_id) FROM user_roles ur \
     JOIN roles r ON r.name = ur.role \
     WHERE replace(' ' || r.scopes || ' ', ' ' || $1 || ' ', ' ') <> ' ' || r.scopes || ' '";

pub(super) const INSERT: &str = "INSERT INTO users \
     (id, username, email, display_name, password_hash, disabled, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";

pub(super) const TOUCH: &str = "UPDATE users SET updated_at = $2 WHERE id = $1";
/// Locks the row until the transaction ends.
pub(super) const LOCK: &str = "UPDATE users SET updated_at = updated_at WHERE id = $1";
pub(super) const UPDATE: &str = "UPDATE users SET username = $2, email = $3, display_name = $4 WHERE id = $1";
pub(super) const DELETE: &str = "DELETE FROM users WHERE id = $1";
pub(super) const SET_DISABLED: &str = "UPDATE users SET disabled = $2 WHERE id = $1";
/// `$3`: device tokens that were issued up to then are invalid.
pub(super) const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2, devices_since = $3 WHERE id = $1";
pub(super) const REPLACE_HASH: &str = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";

/// `$4` is false: a disabled user cannot log in.
pub(super) const LOGGED_IN: &str =
    "UPDATE users SET last_login_at = $3 WHERE id = $1 AND password_hash = $2 AND disabled = $4";

pub(super) const DELETE_ROLES: &str = "DELETE FROM user_roles WHERE user_id = $1";
pub(super) const INSERT_ROLE: &str = "INSERT INTO user_roles (user_id, role) VALUES ($1, $2)";

crate::store::hot! {
    BY_ID, BY_IDS, LOGIN_BY_ID, LOGINS_BY_IDS, LOGIN_BY_USERNAME, LOGIN_BY_EMAIL, LOGGED_IN,
    LIST, LIST_LOGINS, LIST_DISABLED, LIST_ROLE, LIST_USERNAME, LIST_EMAIL
}

/// A row of `users`, with the roles and scopes of the user.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct UserRow {
    pub(super) id: UserId,
    username: String,
    email: Option<String>,
    display_name: Option<String>,
    disabled: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
    roles: Option<String>,
    scopes: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct LoginRow {
    #[sqlx(flatten)]
    pub(super) user: UserRow,
    pub(super) password_hash: String,
    devices_since: Option<DateTime<Utc>>,
}

impl TryFrom<LoginRow> for Login {
    type Error = StoreError;

    fn try_from(row: LoginRow) -> Result<Self, StoreError> {
        Ok(Self { password_hash: row.password_hash, devices_since: row.devices_since, user: row.user.try_into()? })
    }
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        let impossible = |problem: &dyn ToString| StoreError::impossible("users", &row.id, &problem.to_string());
        let roles = row.roles.unwrap_or_default();
        let mut roles: Vec<_> = roles
            .split(' ')
            .filter(|name| !name.is_empty())
            .map(|name| name.parse().map_err(|error: crate::error::FieldError| impossible(&error.message)))
            .collect::<Result<_, _>>()?;
        roles.sort();
        Ok(Self {
            id: row.id,
            username: row.username.parse().map_err(|error: crate::error::FieldError| impossible(&error.message))?,
            email: row
                .email
                .map(|email| email.parse().map_err(|error: crate::error::FieldError| impossible(&error.message)))
                .transpose()?,
            display_name: row
                .display_name
                .map(|name| name.parse().map_err(|error: crate::error::FieldError| impossible(&error.message)))
                .transpose()?,
            roles,
            scopes: row.scopes.unwrap_or_default().parse().map_err(|error| impossible(&error))?,
            disabled: row.disabled,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_login_at: row.last_login_at,
        })
    }
}
