//! Scopes (what tokens can be good for) and roles (named lists of scopes, which users have).

mod name;
mod sql;

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};
use serde::Serialize;

pub use self::name::RoleName;
pub(crate) use self::name::is_plain_name;
use crate::{
    app::App,
    audit::{self, Event, Origin},
    changes, clients,
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
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// For people.
    pub description: String,
    /// What it gives.
    #[serde(serialize_with = "crate::users::scope_names")]
    pub scopes: Scopes,
    /// Whether grantd itself made it.
    pub built_in: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

fn check_scope_name(name: &Scope) -> Result<(), Error> {
    if name.as_str().len() > 128 {
        return Err(Error::invalid("name", Code::Length, "may have at most 128 characters"));
    }
    if name.as_str().contains('/') {
        return Err(Error::invalid("name", Code::Format, "must not have a slash"));
    }
    Ok(())
}

fn check_description(text: Option<&str>) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    if text.contains('\0') {
        return Err(Error::invalid("description", Code::Format, "must not have U+0000"));
    }
    if text.chars().count() > 500 {
        return Err(Error::invalid("description", Code::Length, "may have at most 500 characters"));
    }
    Ok(())
}

/// Makes a scope, or changes its description; says whether it is new. A new one goes to the roles and clients that have
/// every scope.
pub async fn put_scope(
    app: &App,
    name: &Scope,
    description: Option<&str>,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(ScopeInfo, bool), Error> {
    check_scope_name(name)?;
    check_description(description)?;
    app.store
        .transact(async |conn| {
            let new = insert_scope(conn, name, description.unwrap_or_default(), false, now).await?;
            if new {
                run::execute!(conn, sql::GIVE_SCOPE_TO_ROLES, name.as_str(), true)?;
                changes::of_roles(conn).await?;
                clients::give_scope(conn, name, now).await?;
            } else if let Some(description) = description {
                run::execute!(conn, sql::DESCRIBE_SCOPE, name.as_str(), description)?;
            }
            let kind = if new { "scope.created" } else { "scope.changed" };
            audit::record(conn, Event::success(kind).subject(name), origin, now).await?;
            let row = run::optional!(conn, sql::ScopeRow, sql::SCOPE, name.as_str())?;
            Ok((ScopeInfo::try_from(row.ok_or_else(|| vanished("scope", name))?)?, new))
        })
        .await
}

fn vanished(what: &'static str, name: &impl ToString) -> Error {
    Error::NotFound { what, name: name.to_string() }
}

/// Makes a scope in a transaction that is under way, unless it is there; says whether it was not.
pub(crate) async fn insert_scope(
    conn: &mut Conn,
    name: &Scope,
    description: &str,
    built_in: bool,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    Ok(run::execute!(conn, sql::INSERT_SCOPE, name.as_str(), description, built_in, now)? == 1)
}

/// Makes a role, or replaces its scopes and, where one is given, its description; says whether it is new.
pub async fn put_role(
    app: &App,
    name: &RoleName,
    description: Option<&str>,
    scopes: &Scopes,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(Role, bool), Error> {
    check_description(description)?;
    app.store
        .transact(async |conn| {
            let before = read_role(conn, name).await?;
            if *name == RoleName::admin() && before.as_ref().is_some_and(|role| role.scopes != *scopes) {
                return Err(Error::Forbidden("the role admin has every scope, which cannot be changed"));
            }
            if *name == RoleName::member() && !scopes.contains("account") {
                return Err(Error::Forbidden("the role member keeps the scope account"));
            }
            check_known(conn, scopes).await?;
            let new = RoleToPut { name, description, scopes, every_scope: false, built_in: false };
            put_role_row(conn, &new, now).await?;
            changes::of_roles(conn).await?;
            let kind = if before.is_none() { "role.created" } else { "role.changed" };
            let details = serde_json::json!({"scopes": scopes});
            audit::record(conn, Event::success(kind).subject(name).details(details), origin, now).await?;
            let role = read_role(conn, name).await?.ok_or_else(|| vanished("role", name))?;
            Ok((role, before.is_none()))
        })
        .await
}

/// What the row of a role is to say.
pub(crate) struct RoleToPut<'a> {
    pub(crate) name: &'a RoleName,
    /// `None` leaves it as it is.
    pub(crate) description: Option<&'a str>,
    pub(crate) scopes: &'a Scopes,
    /// Both only when it is new.
    pub(crate) every_scope: bool,
    pub(crate) built_in: bool,
}

/// Makes or changes a role in a transaction that is under way.
pub(crate) async fn put_role_row(conn: &mut Conn, role: &RoleToPut<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
    run::execute!(
        conn,
        sql::PUT_ROLE,
        role.name.as_str(),
        role.description.unwrap_or_default(),
        role.scopes.to_string(),
        role.every_scope,
        role.built_in,
        now,
        role.description.is_some()
    )?;
    Ok(())
}

async fn read_role(conn: &mut Conn, name: &RoleName) -> Result<Option<Role>, StoreError> {
    run::optional!(conn, sql::RoleRow, sql::ROLE, name.as_str())?.map(Role::try_from).transpose()
}

/// All scopes exist; else says which do not.
pub(crate) async fn check_known(conn: &mut Conn, scopes: &Scopes) -> Result<(), Error> {
    let known = all_scopes(conn).await?;
    let unknown: Vec<FieldError> = scopes
        .difference(&known)
        .iter()
        .map(|scope| FieldError::new("scopes", Code::Unknown, format!("there is no scope {scope}")))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
}

/// The names of all scopes that there are.
pub(crate) async fn all_scopes(conn: &mut Conn) -> Result<Scopes, StoreError> {
    let rows = run::all!(conn, sql::ScopeRow, sql::SCOPES)?;
    rows.into_iter().map(|row| ScopeInfo::try_from(row).map(|scope| scope.name)).collect()
}

/// All scopes, by name.
pub async fn list_scopes(app: &App) -> Result<Vec<ScopeInfo>, Error> {
    let mut conn = app.store.read().await?;
    let rows = run::all!(conn, sql::ScopeRow, sql::SCOPES)?;
    Ok(rows.into_iter().map(ScopeInfo::try_from).collect::<Result<_, _>>()?)
}

/// All roles, by name.
pub async fn list_roles(app: &App) -> Result<Vec<Role>, Error> {
    let mut conn = app.store.read().await?;
    let rows = run::all!(conn, sql::RoleRow, sql::ROLES)?;
    Ok(rows.into_iter().map(Role::try_from).collect::<Result<_, _>>()?)
}
