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

/// All scopes
///
/// By name.
#[utoipa::path(
    get,
    path = "/admin/scopes",
    operation_id = "list_scopes",
    tag = "administration",
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

/// One scope
#[utoipa::path(
    get,
    path = "/admin/scopes/{name}",
    operation_id = "get_scope",
    tag = "administration",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Which", example = "account")),
    responses(
        (status = 200, description = "The scope", body = ScopeInfo),
        (status = 404, description = "There is no such scope"),
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

/// What a scope is to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = PutScope, example = json!({"description": "See items"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeBody {
    /// For people; absent: as it is, or nothing where it is new.
    description: Option<String>,
}

/// Create or update a scope
///
/// A new one goes to the role `admin`, and to the client `default` for as long as nobody gave that other scopes.
#[utoipa::path(
    put,
    path = "/admin/scopes/{name}",
    operation_id = "put_scope",
    tag = "administration",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "A scope-token (RFC 6749 §3.3) without `/`, at most 128 characters", example = "items:read")),
    request_body(content = ScopeBody),
    responses(
        (status = 200, description = "It was there", body = ScopeInfo),
        (status = 201, description = "It is new", body = ScopeInfo, headers(("Location" = String))),
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

/// What was there, or is new at the path that it was put to.
fn put<T: serde::Serialize>(new: bool, req: &HttpRequest, thing: &T) -> HttpResponse {
    if new {
        no_store(StatusCode::CREATED).insert_header((LOCATION, req.path())).json(thing)
    } else {
        no_store(StatusCode::OK).json(thing)
    }
}

/// Delete a scope
///
/// All roles and clients that have it lose it. Tokens that are there keep it until they expire.
#[utoipa::path(
    delete,
    path = "/admin/scopes/{name}",
    operation_id = "delete_scope",
    tag = "administration",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Which", example = "items:read")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such scope"),
        (status = 409, description = "It is built in"),
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

/// All roles
///
/// By name.
#[utoipa::path(
    get,
    path = "/admin/roles",
    operation_id = "list_roles",
    tag = "administration",
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

/// One role
#[utoipa::path(
    get,
    path = "/admin/roles/{name}",
    operation_id = "get_role",
    tag = "administration",
    security(("oauth2" = ["roles:read"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Which", example = "member")),
    responses(
        (status = 200, description = "The role", body = Role),
        (status = 404, description = "There is no such role"),
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

/// What a role is to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = PutRole, example = json!({"description": "Sees items", "scopes": ["items:read"]}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleBody {
    /// For people; absent: as it is, or nothing where it is new.
    description: Option<String>,
    /// All that it gives from now on.
    #[schema(required = true, nullable = false)]
    scopes: Option<Vec<String>>,
}

/// Create a role or replace its scopes
///
/// Whoever does so has all of these scopes. Those who have the role have them from their next login or refresh on.
#[utoipa::path(
    put,
    path = "/admin/roles/{name}",
    operation_id = "put_role",
    tag = "administration",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "`[a-z][a-z0-9-]{0,62}`", example = "reader")),
    request_body(content = RoleBody),
    responses(
        (status = 200, description = "It was there", body = Role),
        (status = 201, description = "It is new", body = Role, headers(("Location" = String))),
        (status = 409, description = "The scopes of `admin` are not changed, those of `member` keep `account`, and somebody keeps `users:write`"),
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

/// Scopes of a list in a body, which must be among those that there are.
pub(crate) fn scopes_among(known: &Scopes, names: &[String]) -> Result<Scopes, FieldError> {
    Members::list(names, |name| {
        let scope: Scope = name.parse()?;
        let unknown = || FieldError::new("scopes", Code::Unknown, format!("scope {scope} does not exist"));
        known.contains(scope.as_str()).then(|| scope.clone()).ok_or_else(unknown)
    })
}

/// Delete a role
///
/// All users that have it lose it.
#[utoipa::path(
    delete,
    path = "/admin/roles/{name}",
    operation_id = "delete_role",
    tag = "administration",
    security(("oauth2" = ["roles:write"]), ("bearer" = [])),
    params(("name" = String, Path, description = "Which", example = "reader")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such role"),
        (status = 409, description = "It is built in, or nobody would keep `users:write`"),
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
