//! `/admin/scopes` and `/admin/roles`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use grantd_guard::{Scope, Scopes};
use serde::Deserialize;

use super::{Role, ScopeInfo, parse_scope_name};
use crate::{
    app::App,
    error::{Code, FieldError},
    http::{
        body::{self, Members},
        no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
    },
    names::{Description, RoleName},
    principal::{Permit, RolesRead, RolesWrite},
};

/// List scopes
///
/// Sorted by name.
#[utoipa::path(
    get,
    path = "/admin/scopes",
    operation_id = "list_scopes",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(Paging),
    responses((status = 200, description = "A page of scopes", body = Page<ScopeInfo>)),
)]
pub(crate) async fn list_scopes(
    _: Permit<RolesRead>,
    app: web::Data<App>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let request = PageRequest::from_request(&req, List::Scopes, page::text)?;
    let after = request.after.as_deref().unwrap_or_default();
    let conn = &mut app.store.read().await?;
    let scopes = super::list_scopes(conn, after, request.fetch_limit()).await?;
    Ok(no_store(StatusCode::OK).json(request.page(scopes, |scope| scope.name.as_str().to_owned())))
}

/// Get a scope
#[utoipa::path(
    get,
    path = "/admin/scopes/{name}",
    operation_id = "get_scope",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the scope", example = "account")),
    responses(
        (status = 200, description = "The scope", body = ScopeInfo),
        (status = 404, description = "Scope not found"),
    ),
)]
pub(crate) async fn get_scope(
    _: Permit<RolesRead>,
    app: web::Data<App>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let conn = &mut app.store.read().await?;
    Ok(no_store(StatusCode::OK).json(super::find_scope(conn, &name).await?))
}

/// Desired state of a scope.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = PutScope, example = json!({"description": "Read items"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeBody {
    /// If absent, the description stays unchanged, or is empty for a new scope.
    description: Option<String>,
}

/// Create or update a scope
///
/// A new scope is granted to the role `admin`, and to the client `default` unless its scopes were changed.
#[utoipa::path(
    put,
    path = "/admin/scopes/{name}",
    operation_id = "put_scope",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the scope: a scope-token (RFC 6749 §3.3) without `/`, at most 128 characters", example = "items:read")),
    request_body(content = ScopeBody),
    responses(
        (status = 200, description = "The updated scope", body = ScopeInfo),
        (status = 201, description = "The new scope", body = ScopeInfo, headers(("Location" = String))),
    ),
)]
pub(crate) async fn put_scope(
    permit: Permit<RolesWrite>,
    app: web::Data<App>,
    name: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let ScopeBody { description } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let mut members = Members::default();
    let name = members.optional(Some(parse_scope_name(&name)));
    let description = members.optional(description.map(Description::try_from));
    let name = members.finish(name)?;
    let (by, now) = (&permit.authority, app.now());
    let put_scope = app.write(async |tx| super::put_scope(tx, &name, description.as_ref(), by, now).await);
    let (scope, new) = put_scope.await?;
    Ok(put(new, &req, &scope))
}

/// Responds to a PUT: 201 with `Location` if the resource is new, else 200.
fn put<T: serde::Serialize>(new: bool, req: &HttpRequest, thing: &T) -> HttpResponse {
    if new {
        no_store(StatusCode::CREATED).insert_header((LOCATION, req.path())).json(thing)
    } else {
        no_store(StatusCode::OK).json(thing)
    }
}

/// Delete a scope
///
/// Removes the scope from all roles and clients. Existing tokens keep it until they expire.
#[utoipa::path(
    delete,
    path = "/admin/scopes/{name}",
    operation_id = "delete_scope",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the scope", example = "items:read")),
    responses(
        (status = 204, description = "Scope deleted"),
        (status = 404, description = "Scope not found"),
        (status = 409, description = "Built-in scopes cannot be deleted"),
    ),
)]
pub(crate) async fn delete_scope(
    permit: Permit<RolesWrite>,
    app: web::Data<App>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (by, now) = (&permit.authority, app.now());
    app.write(async |tx| super::delete_scope(tx, &name, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

/// List roles
///
/// Sorted by name.
#[utoipa::path(
    get,
    path = "/admin/roles",
    operation_id = "list_roles",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(Paging),
    responses((status = 200, description = "A page of roles", body = Page<Role>)),
)]
pub(crate) async fn list_roles(
    _: Permit<RolesRead>,
    app: web::Data<App>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let request = PageRequest::from_request(&req, List::Roles, page::text)?;
    let after = request.after.as_deref().unwrap_or_default();
    let conn = &mut app.store.read().await?;
    let roles = super::list_roles(conn, after, request.fetch_limit()).await?;
    Ok(no_store(StatusCode::OK).json(request.page(roles, |role| role.name.as_str().to_owned())))
}

/// Get a role
#[utoipa::path(
    get,
    path = "/admin/roles/{name}",
    operation_id = "get_role",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the role", example = "member")),
    responses(
        (status = 200, description = "The role", body = Role),
        (status = 404, description = "Role not found"),
    ),
)]
pub(crate) async fn get_role(
    _: Permit<RolesRead>,
    app: web::Data<App>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let conn = &mut app.store.read().await?;
    Ok(no_store(StatusCode::OK).json(super::find_role(conn, &name).await?))
}

/// Desired state of a role.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = PutRole, example = json!({"description": "Can read users", "scopes": ["account", "users:read"]}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleBody {
    /// If absent, the description stays unchanged, or is empty for a new role.
    description: Option<String>,
    /// All scopes of the role. Replaces the previous ones.
    #[schema(required = true, nullable = false)]
    scopes: Option<Vec<String>>,
}

/// Create or update a role
///
/// The caller must have all of these scopes. Users with the role receive them at their next login or refresh.
#[utoipa::path(
    put,
    path = "/admin/roles/{name}",
    operation_id = "put_role",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the role: `[a-z][a-z0-9-]{0,62}`", example = "reader")),
    request_body(content = RoleBody),
    responses(
        (status = 200, description = "The updated role", body = Role),
        (status = 201, description = "The new role", body = Role, headers(("Location" = String))),
        (status = 409, description = "The scopes of `admin` cannot be changed, `member` requires `account`, and one enabled user must keep `users:write`"),
    ),
)]
pub(crate) async fn put_role(
    permit: Permit<RolesWrite>,
    app: web::Data<App>,
    name: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let RoleBody { description, scopes } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let known = super::all_scopes(&mut app.store.read().await?).await?;
    let mut members = Members::default();
    let name = members.optional(Some(name.parse::<RoleName>().map_err(|error| error.of_field("name"))));
    let description = members.optional(description.map(Description::try_from));
    let scopes = members.required("scopes", scopes.map(|names| scopes_among(&known, &names)));
    let (name, scopes) = members.finish(name.zip(scopes))?;
    let (by, now) = (&permit.authority, app.now());
    let put_role = app.write(async |tx| super::put_role(tx, &name, description.as_ref(), &scopes, by, now).await);
    let (role, new) = put_role.await?;
    Ok(put(new, &req, &role))
}

/// Parses a list of scopes, all of which must exist.
pub(crate) fn scopes_among(known: &Scopes, names: &[String]) -> Result<Scopes, FieldError> {
    Members::list(names, |name| {
        let scope: Scope = name.parse()?;
        let unknown = || FieldError::new("scopes", Code::Unknown, format!("scope {scope} does not exist"));
        known.contains(scope.as_str()).then(|| scope.clone()).ok_or_else(unknown)
    })
}

/// Delete a role
///
/// Removes the role from all users.
#[utoipa::path(
    delete,
    path = "/admin/roles/{name}",
    operation_id = "delete_role",
    tag = "roles and scopes",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Name of the role", example = "reader")),
    responses(
        (status = 204, description = "Role deleted"),
        (status = 404, description = "Role not found"),
        (status = 409, description = "Built-in role, or the last enabled user with `users:write` would lose it"),
    ),
)]
pub(crate) async fn delete_role(
    permit: Permit<RolesWrite>,
    app: web::Data<App>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (by, now) = (&permit.authority, app.now());
    app.write(async |tx| super::delete_role(tx, &name, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
