//! Scopes (what tokens can be good for) and roles (named lists of scopes, which users have).

mod administrators;
mod change;
mod name;
pub(crate) mod routes;
mod sql;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};
use serde::Serialize;

pub(crate) use self::{
    administrators::keeping_an_administrator,
    change::{RoleToPut, delete_role_in, delete_scope_in, insert_scope, put_role_in, put_role_row, put_scope_in},
    name::is_plain_name,
};
pub use self::{
    change::{delete_role, delete_scope, put_role, put_scope},
    name::RoleName,
};
use crate::{
    app::App,
    error::{Code, Error, FieldError},
    store::{Conn, StoreError, run},
};

/// The scopes that grantd itself knows, and what they allow.
pub const BUILT_IN_SCOPES: [(&str, &str); 11] = [
    ("account", "See and change one's own account"),
    ("users:read", "See users"),
    ("users:write", "Make, change and delete users"),
    ("roles:read", "See roles and scopes"),
    ("roles:write", "Make, change and delete roles and scopes"),
    ("clients:read", "See clients"),
    ("clients:write", "Make, change and delete clients"),
    ("keys:read", "See signing keys"),
    ("keys:write", "Rotate and withdraw signing keys"),
    ("audit:read", "Read the audit log"),
    ("tokens:introspect", "Ask about any token"),
];

/// A scope, as an administrator sees it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Scope)]
pub struct ScopeInfo {
    /// A scope-token (RFC 6749 §3.3) without `/`.
    pub name: Scope,
    /// For people.
    pub description: String,
    /// Whether grantd itself made it.
    pub built_in: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A role.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// For people.
    pub description: String,
    /// What it gives.
    #[serde(serialize_with = "crate::users::scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// Whether grantd itself made it.
    pub built_in: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// One scope.
pub async fn find_scope(app: &App, name: &str) -> Result<ScopeInfo, Error> {
    let Ok(known) = name.parse::<Scope>() else { return Err(not_found("scope", name)) };
    read_scope(&mut app.store.read().await?, known.as_str()).await?.ok_or_else(|| not_found("scope", name))
}

/// One role.
pub async fn find_role(app: &App, name: &str) -> Result<Role, Error> {
    let Ok(known) = name.parse::<RoleName>() else { return Err(not_found("role", name)) };
    read_role(&mut app.store.read().await?, known.as_str()).await?.ok_or_else(|| not_found("role", name))
}

/// Scopes in the order of their names, after one of them (the empty text: from the first): at most `limit`.
pub async fn list_scopes(app: &App, after: &str, limit: i64) -> Result<Vec<ScopeInfo>, Error> {
    Ok(scopes_after(&mut app.store.read().await?, after, limit).await?)
}

/// Roles, in the same way.
pub async fn list_roles(app: &App, after: &str, limit: i64) -> Result<Vec<Role>, Error> {
    Ok(roles_after(&mut app.store.read().await?, after, limit).await?)
}

/// As [`list_scopes`], as a transaction that is under way sees them.
pub(crate) async fn scopes_after(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<ScopeInfo>, StoreError> {
    let rows = run::all!(conn, sql::ScopeRow, sql::SCOPES_AFTER, after, limit)?;
    rows.into_iter().map(ScopeInfo::try_from).collect()
}

/// As [`list_roles`], in the same way.
pub(crate) async fn roles_after(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Role>, StoreError> {
    let rows = run::all!(conn, sql::RoleRow, sql::ROLES_AFTER, after, limit)?;
    rows.into_iter().map(Role::try_from).collect()
}

pub(crate) async fn read_scope(conn: &mut Conn, name: &str) -> Result<Option<ScopeInfo>, StoreError> {
    run::optional!(conn, sql::ScopeRow, sql::SCOPE, name)?.map(ScopeInfo::try_from).transpose()
}

pub(crate) async fn read_role(conn: &mut Conn, name: &str) -> Result<Option<Role>, StoreError> {
    run::optional!(conn, sql::RoleRow, sql::ROLE, name)?.map(Role::try_from).transpose()
}

fn not_found(what: &'static str, name: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what, name: name.to_string() }
}

/// The names of all scopes that there are.
pub(crate) async fn all_scopes(conn: &mut Conn) -> Result<Scopes, StoreError> {
    let rows = run::all!(conn, (String,), sql::SCOPE_NAMES)?;
    let parse = |(name,): (String,)| name.parse().map_err(|error| StoreError::impossible("scopes", &name, &error));
    rows.into_iter().map(parse).collect()
}

/// The same, for whoever asks what there is.
pub(crate) async fn known_scopes(app: &App) -> Result<Scopes, Error> {
    Ok(all_scopes(&mut app.store.read().await?).await?)
}

/// The names of all roles.
pub(crate) async fn known_roles(app: &App) -> Result<HashSet<String>, Error> {
    let rows = run::all!(app.store.read().await?, (String,), sql::ROLE_NAMES)?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// What every user has.
pub(crate) async fn scopes_of_everybody(conn: &mut Conn) -> Result<Scopes, StoreError> {
    Ok(read_role(conn, RoleName::member().as_str()).await?.map(|role| role.scopes).unwrap_or_default())
}

/// All scopes exist; else says which do not.
pub(crate) async fn check_known(conn: &mut Conn, scopes: &Scopes) -> Result<(), Error> {
    let unknown = scopes.difference(&all_scopes(conn).await?);
    let unknown = unknown.iter().map(|scope| format!("there is no scope {scope}"));
    let unknown: Vec<_> = unknown.map(|message| FieldError::new("scopes", Code::Unknown, message)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
}

/// What these roles give together; they all exist, else says which do not.
pub(crate) async fn scopes_of(conn: &mut Conn, names: &[RoleName]) -> Result<Scopes, Error> {
    let (mut scopes, mut unknown) = (Scopes::default(), Vec::new());
    for name in names {
        match read_role(conn, name.as_str()).await? {
            Some(role) => role.scopes.iter().for_each(|scope| scopes.insert(scope.clone())),
            None => unknown.push(FieldError::new("roles", Code::Unknown, format!("there is no role {name}"))),
        }
    }
    if unknown.is_empty() { Ok(scopes) } else { Err(Error::Invalid(unknown)) }
}
