//! Changes of scopes and roles.

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};

use super::{Role, ScopeInfo, check_known, keep_an_administrator, lock, not_found, read_role, read_scope, sql};
use crate::{
    audit::{self, Event, Kind},
    authority::Authority,
    clients,
    error::Error,
    names::{Description, RoleName},
    store::{Conn, StoreError, Transaction, conn},
};

/// Creates a scope or updates its description; returns whether it is new. A new scope is added to the roles and clients
/// that have every scope. `description`: `None` keeps the present one.
pub async fn put_scope(
    tx: &mut Transaction,
    name: &Scope,
    description: Option<&Description>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(ScopeInfo, bool), Error> {
    // First lock (lock order): rows of roles and clients are updated below.
    lock(tx).await?;
    let before = read_scope(tx, name.as_str()).await?.map(|scope| scope.description);
    let new = insert_scope(tx, name, description, false, now).await?;
    if new {
        conn::execute!(tx, sql::ADD_SCOPE_TO_ROLES, name.as_str(), true)?;
        tx.roles_changed();
        clients::add_scope(tx, name, now).await?;
    } else if let Some(description) = description {
        conn::execute!(tx, sql::DESCRIBE_SCOPE, name.as_str(), description.as_str())?;
    }
    let scope = read_scope(tx, name.as_str()).await?.ok_or_else(|| not_found("scope", name))?;
    if before.is_none_or(|before| before != scope.description) {
        let kind = if new { Kind::ScopeCreated } else { Kind::ScopeChanged };
        audit::record(tx, Event::success(kind).subject(name), &by.origin, now).await?;
    }
    Ok((scope, new))
}

/// Deletes a scope and removes it from all roles, clients and API keys. Access tokens have it until they expire.
pub async fn delete_scope(tx: &mut Transaction, name: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    lock(tx).await?;
    let scope = super::find_scope(tx, name).await?;
    scope.check_deletable()?;
    // All in one transaction: a role that kept the name would grant the scope if it is created again later.
    conn::execute!(tx, sql::DELETE_SCOPE, name)?;
    conn::execute!(tx, sql::REMOVE_SCOPE_FROM_ROLES, name)?;
    conn::execute!(tx, sql::REMOVE_SCOPE_FROM_API_KEYS, name)?;
    tx.roles_changed();
    clients::remove_scope(tx, &scope.name, now).await?;
    Ok(audit::record(tx, Event::success(Kind::ScopeDeleted).subject(&name), &by.origin, now).await?)
}

/// Inserts a scope unless it exists; returns whether it is new.
pub(crate) async fn insert_scope(
    conn: &mut Conn,
    name: &Scope,
    description: Option<&Description>,
    built_in: bool,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let description = description.map_or("", Description::as_str);
    Ok(conn::execute!(conn, sql::INSERT_SCOPE, name.as_str(), description, built_in, now)? == 1)
}

/// Creates a role, or replaces its scopes and, if given, its description; returns whether it is new.
pub async fn put_role(
    tx: &mut Transaction,
    name: &RoleName,
    description: Option<&Description>,
    scopes: &Scopes,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(Role, bool), Error> {
    keep_an_administrator(tx, async |tx| {
        check_known(tx, scopes).await?;
        let before = read_role(tx, name.as_str()).await?;
        check_built_in(name, before.as_ref(), scopes)?;
        by.must_have(scopes)?;
        // Removing a scope from a role removes it from users, so the caller needs the removed scopes, too.
        by.must_have(&before.as_ref().map(|role| role.scopes.difference(scopes)).unwrap_or_default())?;
        let is_same = |role: &Role| role.scopes == *scopes && description.is_none_or(|text| *text == role.description);
        if let Some(role) = before.as_ref().filter(|role| is_same(role)) {
            return Ok((role.clone(), false));
        }
        put_role_row(tx, &RoleRow { name, description, scopes, every_scope: false, built_in: false }, now).await?;
        tx.roles_changed();
        let kind = if before.is_none() { Kind::RoleCreated } else { Kind::RoleChanged };
        let details = serde_json::json!({"scopes": scopes});
        audit::record(tx, Event::success(kind).subject(name).details(details), &by.origin, now).await?;
        let role = read_role(tx, name.as_str()).await?.ok_or_else(|| not_found("role", name))?;
        Ok((role, before.is_none()))
    })
    .await
}

/// Checks the rules of the built-in roles: `admin` has every scope, and `member` has at least `account`.
fn check_built_in(name: &RoleName, before: Option<&Role>, scopes: &Scopes) -> Result<(), Error> {
    if *name == RoleName::admin() && before.is_some_and(|role| role.scopes != *scopes) {
        return Err(Error::RuleViolation("cannot change the scopes of the role admin: it has all of them"));
    }
    if *name == RoleName::member() && !scopes.contains("account") {
        return Err(Error::RuleViolation("cannot remove the scope account from the role member"));
    }
    Ok(())
}

/// Deletes a role and removes it from all users.
pub async fn delete_role(tx: &mut Transaction, name: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    keep_an_administrator(tx, async |tx| {
        let role = super::find_role(tx, name).await?;
        role.check_deletable()?;
        // Deleting the role removes its scopes from users, so the caller needs all of them.
        by.must_have(&role.scopes)?;
        conn::execute!(tx, sql::DELETE_ROLE, name)?;
        tx.roles_changed();
        Ok(audit::record(tx, Event::success(Kind::RoleDeleted).subject(&name), &by.origin, now).await?)
    })
    .await
}

/// The row of a role.
pub(crate) struct RoleRow<'a> {
    pub(crate) name: &'a RoleName,
    /// `None` keeps the present one.
    pub(crate) description: Option<&'a Description>,
    pub(crate) scopes: &'a Scopes,
    /// This and `built_in` are written only when the role is created.
    pub(crate) every_scope: bool,
    pub(crate) built_in: bool,
}

/// Inserts or updates the row of a role.
pub(crate) async fn put_role_row(conn: &mut Conn, role: &RoleRow<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
    conn::execute!(
        conn,
        sql::PUT_ROLE,
        role.name.as_str(),
        role.description.map(Description::as_str).unwrap_or_default(),
        role.scopes.to_string(),
        role.every_scope,
        role.built_in,
        now,
        role.description.is_some()
    )?;
    Ok(())
}
