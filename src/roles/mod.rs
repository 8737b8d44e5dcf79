//! Scopes (what a token allows) and roles (named sets of scopes that users have).

mod last_administrator;
pub(crate) mod routes;
pub(crate) mod sql;
mod write;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};
use serde::Serialize;

pub use self::write::{delete_role, delete_scope, put_role, put_scope};
pub(crate) use self::{
    last_administrator::keep_an_administrator,
    write::{RoleRow, insert_scope, put_role_row},
};
use crate::{
    error::{Code, Error, FieldError},
    names::{Description, RoleName},
    store::{Conn, StoreError, Transaction, conn},
};

/// The built-in scopes, which grantd itself checks, with their descriptions.
pub const BUILT_IN_SCOPES: [(&str, &str); 11] = [
    ("account", "Read and change the current user"),
    ("users:read", "List users"),
    ("users:write", "Create, change and delete users"),
    ("roles:read", "List roles and scopes"),
    ("roles:write", "Create, change and delete roles and scopes"),
    ("clients:read", "List clients"),
    ("clients:write", "Create, change and delete clients"),
    ("keys:read", "List signing keys"),
    ("keys:write", "Rotate and retire signing keys"),
    ("audit:read", "Read the audit log"),
    ("tokens:introspect", "Introspect any token"),
];

/// A scope.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Scope)]
pub struct ScopeInfo {
    /// A scope-token (RFC 6749 §3.3) without `/`.
    pub name: Scope,
    /// What the scope allows.
    #[schema(value_type = String)]
    pub description: Description,
    /// Whether the scope is built in.
    pub built_in: bool,
    /// When the scope was created.
    pub created_at: DateTime<Utc>,
}

impl ScopeInfo {
    /// Checks that the scope is not built in.
    pub(crate) fn check_deletable(&self) -> Result<(), Error> {
        if self.built_in { Err(Error::RuleViolation("cannot delete a built-in scope")) } else { Ok(()) }
    }
}

/// A role.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Role {
    /// Name of the role.
    pub name: RoleName,
    /// What the role is for.
    #[schema(value_type = String)]
    pub description: Description,
    /// Scopes that the role grants.
    #[serde(serialize_with = "scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// Whether the role is built in.
    pub built_in: bool,
    /// When the role was created.
    pub created_at: DateTime<Utc>,
}

impl Role {
    /// Checks that the role is not built in.
    pub(crate) fn check_deletable(&self) -> Result<(), Error> {
        if self.built_in { Err(Error::RuleViolation("cannot delete a built-in role")) } else { Ok(()) }
    }
}

/// Serializes scopes as an array of names, the form of JSON bodies outside OAuth.
pub(crate) fn scope_names<S: serde::Serializer>(scopes: &Scopes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

/// Parses the name of a scope: a scope-token (RFC 6749 §3.3) of at most 128 characters without `/`.
pub(crate) fn parse_scope_name(text: &str) -> Result<Scope, FieldError> {
    let wrong = |code, message| FieldError::new("name", code, message);
    let name: Scope = text.parse().map_err(|_| {
        wrong(Code::Format, "must be printable ASCII without spaces, quotes and backslashes (RFC 6749 §3.3)")
    })?;
    if text.len() > 128 {
        return Err(wrong(Code::Length, "must have at most 128 characters"));
    }
    if text.contains('/') { Err(wrong(Code::Format, "must not contain a slash")) } else { Ok(name) }
}

fn not_found(what: &'static str, name: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what, name: name.to_string() }
}

/// Returns the scope with this name.
pub async fn find_scope(conn: &mut Conn, name: &str) -> Result<ScopeInfo, Error> {
    let Ok(known) = name.parse::<Scope>() else { return Err(not_found("scope", name)) };
    read_scope(conn, known.as_str()).await?.ok_or_else(|| not_found("scope", name))
}

/// Returns the role with this name.
pub async fn find_role(conn: &mut Conn, name: &str) -> Result<Role, Error> {
    let Ok(known) = name.parse::<RoleName>() else { return Err(not_found("role", name)) };
    read_role(conn, known.as_str()).await?.ok_or_else(|| not_found("role", name))
}

/// Returns at most `limit` scopes in the order of their names, after the name `after` (empty: from the first).
pub async fn list_scopes(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<ScopeInfo>, StoreError> {
    let rows = conn::all!(conn, sql::ScopeRow, sql::SCOPES_AFTER, after, limit)?;
    rows.into_iter().map(ScopeInfo::try_from).collect()
}

/// Returns at most `limit` roles in the order of their names, after the name `after` (empty: from the first).
pub async fn list_roles(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Role>, StoreError> {
    let rows = conn::all!(conn, sql::RoleRow, sql::ROLES_AFTER, after, limit)?;
    rows.into_iter().map(Role::try_from).collect()
}

async fn read_scope(conn: &mut Conn, name: &str) -> Result<Option<ScopeInfo>, StoreError> {
    conn::optional!(conn, sql::ScopeRow, sql::SCOPE, name)?.map(ScopeInfo::try_from).transpose()
}

async fn read_role(conn: &mut Conn, name: &str) -> Result<Option<Role>, StoreError> {
    conn::optional!(conn, sql::RoleRow, sql::ROLE, name)?.map(Role::try_from).transpose()
}

/// Returns the names of all scopes.
pub(crate) async fn all_scopes(conn: &mut Conn) -> Result<Scopes, StoreError> {
    let rows = conn::all!(conn, (String,), sql::SCOPE_NAMES)?;
    let parse = |(name,): (String,)| name.parse().map_err(|error| StoreError::impossible("scopes", &name, &error));
    rows.into_iter().map(parse).collect()
}

/// Returns the names of all roles.
pub(crate) async fn all_roles(conn: &mut Conn) -> Result<HashSet<String>, StoreError> {
    let rows = conn::all!(conn, (String,), sql::ROLE_NAMES)?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// Returns the scopes of the role `member`, which every user has.
pub(crate) async fn scopes_of_member(conn: &mut Conn) -> Result<Scopes, StoreError> {
    Ok(read_role(conn, RoleName::member().as_str()).await?.map(|role| role.scopes).unwrap_or_default())
}

/// Locks the set of scopes, and the assignment of scopes to users, until the transaction ends. It is the first lock of a
/// transaction that needs it: taken after the row of a client or user, it could deadlock.
async fn lock(tx: &mut Transaction) -> Result<(), StoreError> {
    // Once per transaction is enough: a row lock is held until the end.
    if tx.enter("scopes") {
        conn::execute!(tx, sql::LOCK)?;
    }
    Ok(())
}

/// Checks that all scopes exist, and reports those that do not. The lock keeps them from being deleted until the
/// transaction ends: otherwise a client could get a scope that is being deleted, and keep it.
pub(crate) async fn check_known(tx: &mut Transaction, scopes: &Scopes) -> Result<(), Error> {
    lock(tx).await?;
    let unknown = scopes.difference(&all_scopes(tx).await?);
    let unknown = unknown.iter().map(|scope| format!("scope {scope} does not exist; create it first"));
    let unknown: Vec<_> = unknown.map(|message| FieldError::new("scopes", Code::Unknown, message)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
}

/// Returns the union of the scopes of these roles, and reports roles that do not exist.
pub(crate) async fn scopes_of(conn: &mut Conn, names: &[RoleName]) -> Result<Scopes, Error> {
    let (mut scopes, mut unknown) = (Scopes::default(), Vec::new());
    for name in names {
        match read_role(conn, name.as_str()).await? {
            Some(role) => role.scopes.iter().for_each(|scope| scopes.insert(scope.clone())),
            None => unknown.push(FieldError::new(
                "roles",
                Code::Unknown,
                format!("role {name} does not exist; create it first"),
            )),
        }
    }
    if unknown.is_empty() { Ok(scopes) } else { Err(Error::Invalid(unknown)) }
}
