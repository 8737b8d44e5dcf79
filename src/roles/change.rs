//! What changes scopes and roles.

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};

use super::{Role, RoleName, ScopeInfo, check_known, not_found, read_role, read_scope, sql};
use crate::{
    app::App,
    audit::{self, Event},
    authority::Authority,
    changes, clients,
    error::{Code, Error, FieldError},
    store::{Conn, StoreError, run},
};

pub(super) fn check_scope_name(name: &Scope) -> Result<(), FieldError> {
    if name.as_str().len() > 128 {
        return Err(FieldError::new("name", Code::Length, "may have at most 128 characters"));
    }
    if name.as_str().contains('/') {
        return Err(FieldError::new("name", Code::Format, "must not have a slash"));
    }
    Ok(())
}

pub(super) fn check_description(text: Option<&str>) -> Result<(), FieldError> {
    let Some(text) = text else { return Ok(()) };
    if text.contains('\0') {
        return Err(FieldError::new("description", Code::Format, "must not have U+0000"));
    }
    if text.chars().count() > 500 {
        return Err(FieldError::new("description", Code::Length, "may have at most 500 characters"));
    }
    Ok(())
}

fn all_right<const N: usize>(checks: [Result<(), FieldError>; N]) -> Result<(), Error> {
    let wrong: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
}

/// Makes a scope, or changes its description; says whether it is new. A new one goes to the roles and clients that have
/// every scope.
pub async fn put_scope(
    app: &App,
    name: &Scope,
    description: Option<&str>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(ScopeInfo, bool), Error> {
    changes::make(app, async |conn| put_scope_in(conn, name, description, by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn put_scope_in(
    conn: &mut Conn,
    name: &Scope,
    description: Option<&str>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(ScopeInfo, bool), Error> {
    all_right([check_scope_name(name), check_description(description)])?;
    let before = read_scope(conn, name.as_str()).await?.map(|scope| scope.description);
    let new = insert_scope(conn, name, description.unwrap_or_default(), false, now).await?;
    if new {
        run::execute!(conn, sql::GIVE_SCOPE_TO_ROLES, name.as_str(), true)?;
        changes::of_roles(conn).await?;
        clients::give_scope(conn, name, now).await?;
    } else if let Some(description) = description {
        run::execute!(conn, sql::DESCRIBE_SCOPE, name.as_str(), description)?;
    }
    let scope = read_scope(conn, name.as_str()).await?.ok_or_else(|| not_found("scope", name))?;
    if before.is_none_or(|before| before != scope.description) {
        let kind = if new { "scope.created" } else { "scope.changed" };
        audit::record(conn, Event::success(kind).subject(name), &by.origin, now).await?;
    }
    Ok((scope, new))
}

/// Takes a scope from all that have it, for ever. Tokens keep its name as long as they live.
pub async fn delete_scope(app: &App, name: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let name: Scope = name.parse().map_err(|_| not_found("scope", name))?;
    changes::make(app, async |conn| delete_scope_in(conn, name.as_str(), by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn delete_scope_in(
    conn: &mut Conn,
    name: &str,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let scope = read_scope(conn, name).await?.ok_or_else(|| not_found("scope", name))?;
    if scope.built_in {
        return Err(Error::Forbidden("a built-in scope is not deleted"));
    }
    run::execute!(conn, sql::DELETE_SCOPE, name)?;
    run::execute!(conn, sql::TAKE_SCOPE_FROM_ROLES, name)?;
    changes::of_roles(conn).await?;
    clients::take_scope(conn, &scope.name, now).await?;
    Ok(audit::record(conn, Event::success("scope.deleted").subject(&name), &by.origin, now).await?)
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
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(Role, bool), Error> {
    changes::make(app, async |conn| put_role_in(conn, name, description, scopes, by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn put_role_in(
    conn: &mut Conn,
    name: &RoleName,
    description: Option<&str>,
    scopes: &Scopes,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(Role, bool), Error> {
    all_right([check_description(description)])?;
    check_known(conn, scopes).await?;
    let before = read_role(conn, name.as_str()).await?;
    if *name == RoleName::admin() && before.as_ref().is_some_and(|role| role.scopes != *scopes) {
        return Err(Error::Forbidden("the role admin has every scope, which cannot be changed"));
    }
    if *name == RoleName::member() && !scopes.contains("account") {
        return Err(Error::Forbidden("the role member keeps the scope account"));
    }
    by.must_have(scopes)?;
    let is_same = |role: &Role| role.scopes == *scopes && description.is_none_or(|text| text == role.description);
    if let Some(role) = before.as_ref().filter(|role| is_same(role)) {
        return Ok((role.clone(), false));
    }
    let new = RoleToPut { name, description, scopes, every_scope: false, built_in: false };
    put_role_row(conn, &new, now).await?;
    changes::of_roles(conn).await?;
    let kind = if before.is_none() { "role.created" } else { "role.changed" };
    let details = serde_json::json!({"scopes": scopes});
    audit::record(conn, Event::success(kind).subject(name).details(details), &by.origin, now).await?;
    let role = read_role(conn, name.as_str()).await?.ok_or_else(|| not_found("role", name))?;
    Ok((role, before.is_none()))
}

/// Takes a role from all that have it, for ever.
pub async fn delete_role(app: &App, name: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let name: RoleName = name.parse().map_err(|_| not_found("role", name))?;
    changes::make(app, async |conn| delete_role_in(conn, name.as_str(), by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn delete_role_in(
    conn: &mut Conn,
    name: &str,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let role = read_role(conn, name).await?.ok_or_else(|| not_found("role", name))?;
    if role.built_in {
        return Err(Error::Forbidden("a built-in role is not deleted"));
    }
    run::execute!(conn, sql::DELETE_ROLE, name)?;
    changes::of_roles(conn).await?;
    Ok(audit::record(conn, Event::success("role.deleted").subject(&name), &by.origin, now).await?)
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
