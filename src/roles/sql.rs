//! Statements on scopes and roles, and the conversion of their rows.

use chrono::{DateTime, Utc};

use super::{Role, ScopeInfo};
use crate::{error::FieldError, names::Description, store::StoreError};

pub(super) const SCOPE: &str = "SELECT name, description, built_in, created_at FROM scopes WHERE name = $1";
pub(super) const SCOPE_NAMES: &str = "SELECT name FROM scopes";
pub(super) const ROLE_NAMES: &str = "SELECT name FROM roles";
pub(super) const SCOPES_AFTER: &str =
    "SELECT name, description, built_in, created_at FROM scopes WHERE name > $1 ORDER BY name LIMIT $2";
pub(super) const INSERT_SCOPE: &str = "INSERT INTO scopes (name, description, built_in, created_at) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING";
pub(super) const DESCRIBE_SCOPE: &str = "UPDATE scopes SET description = $2 WHERE name = $1";
pub(super) const DELETE_SCOPE: &str = "DELETE FROM scopes WHERE name = $1";
/// The column has each name once, separated by spaces.
pub(super) const REMOVE_SCOPE_FROM_ROLES: &str = "UPDATE roles SET scopes = trim(replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ')) \
     WHERE replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ') <> ' ' || scopes || ' '";
// Here and not in `api_keys`, which depends on this module.
pub(super) const REMOVE_SCOPE_FROM_API_KEYS: &str = "UPDATE api_keys SET scopes = trim(replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ')) \
     WHERE replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ') <> ' ' || scopes || ' '";
/// `$2` is true: the roles that have every scope.
pub(super) const ADD_SCOPE_TO_ROLES: &str =
    "UPDATE roles SET scopes = trim(scopes || ' ' || $1) WHERE every_scope = $2";

pub(super) const ROLE: &str = "SELECT name, description, scopes, built_in, created_at FROM roles WHERE name = $1";
pub(super) const ROLES_AFTER: &str =
    "SELECT name, description, scopes, built_in, created_at FROM roles WHERE name > $1 ORDER BY name LIMIT $2";
/// `$7`: whether a description was given.
pub(super) const PUT_ROLE: &str = "INSERT INTO roles (name, description, scopes, every_scope, built_in, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (name) DO UPDATE SET scopes = CASE WHEN roles.every_scope THEN roles.scopes ELSE excluded.scopes END, \
     description = CASE WHEN $7 THEN excluded.description ELSE roles.description END";

/// The foreign key removes the role from users.
pub(super) const DELETE_ROLE: &str = "DELETE FROM roles WHERE name = $1";

/// Locks one row, which stands for all scopes and their assignment to users. Built-in scopes are never deleted, so it
/// exists.
pub(super) const LOCK: &str = "UPDATE scopes SET description = description WHERE name = 'users:write'";
/// Finds an enabled user with the scope `users:write`; `$1` is false.
// No `LIKE`: in SQLite it ignores case, and scopes are case-sensitive. No join: Postgres would start with all users,
// since it cannot know how few roles have the scope.
pub(super) const ONE_ADMINISTRATOR: &str = "SELECT r.name FROM roles r \
     WHERE replace(' ' || r.scopes || ' ', ' users:write ', '') <> ' ' || r.scopes || ' ' AND r.name = \
     (SELECT ur.role FROM user_roles ur WHERE ur.role = r.name \
      AND $1 = (SELECT u.disabled FROM users u WHERE u.id = ur.user_id) LIMIT 1) LIMIT 1";

crate::store::hot! { ONE_ADMINISTRATOR }

#[derive(Debug, sqlx::FromRow)]
pub(super) struct ScopeRow {
    name: String,
    description: String,
    built_in: bool,
    created_at: DateTime<Utc>,
}

impl TryFrom<ScopeRow> for ScopeInfo {
    type Error = StoreError;

    fn try_from(row: ScopeRow) -> Result<Self, StoreError> {
        let name = row.name.parse().map_err(|error| StoreError::impossible("scopes", &row.name, &error))?;
        let description =
            description(row.description).map_err(|error| StoreError::impossible("scopes", &row.name, &error))?;
        Ok(Self { name, description, built_in: row.built_in, created_at: row.created_at })
    }
}

fn description(text: String) -> Result<Description, FieldError> {
    text.try_into()
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct RoleRow {
    name: String,
    description: String,
    scopes: String,
    built_in: bool,
    created_at: DateTime<Utc>,
}

impl TryFrom<RoleRow> for Role {
    type Error = StoreError;

    fn try_from(row: RoleRow) -> Result<Self, StoreError> {
        let name =
            row.name.parse().map_err(|error: FieldError| StoreError::impossible("roles", &row.name, &error.message))?;
        let scopes = row.scopes.parse().map_err(|error| StoreError::impossible("roles", &row.name, &error))?;
        let description =
            description(row.description).map_err(|error| StoreError::impossible("roles", &row.name, &error))?;
        Ok(Self { name, description, scopes, built_in: row.built_in, created_at: row.created_at })
    }
}
