//! `/admin/users/{id}/api-keys`: the API keys of a user, for administrators.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};

use super::NewBody;
use crate::{
    api_keys::{ApiKey, CreatedKey},
    app::App,
    http::{
        body, no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
    },
    principal::{Permit, UsersRead, UsersWrite, refuse_api_key},
    users::{self, routes::admin::id},
};

/// List a user's API keys
///
/// Oldest first.
#[utoipa::path(
    get,
    path = "/admin/users/{id}/api-keys",
    operation_id = "list_api_keys",
    tag = "users",
    security(("oauth2" = ["users:read"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user"), Paging),
    responses(
        (status = 200, description = "A page of API keys", body = Page<ApiKey>),
        (status = 404, description = "User not found"),
    ),
)]
pub(crate) async fn list(
    _: Permit<UsersRead>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let owner = id(&path)?;
    let request = PageRequest::from_request(&req, List::ApiKeys, page::id)?;
    app.users.read(owner).await?.ok_or_else(|| users::not_found(&owner))?;
    Ok(no_store(StatusCode::OK).json(super::page(&app, owner, &request).await?))
}

/// Create an API key for a user
///
/// The caller must have all scopes of the user. The response has the key: it cannot be read again. An API key cannot create
/// another one.
#[utoipa::path(
    post,
    path = "/admin/users/{id}/api-keys",
    operation_id = "create_api_key",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the user")),
    request_body(content = NewBody),
    responses(
        (status = 201, description = "The API key", body = CreatedKey, headers(("Location" = String))),
        (status = 404, description = "User not found"),
        (status = 409, description = "100 live API keys, which is the maximum"),
    ),
)]
pub(crate) async fn create(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    refuse_api_key(&permit.authority)?;
    let body: NewBody = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let owner = id(&path)?;
    let created = super::create(&app, owner, body, &permit.authority).await?;
    let location = format!("/admin/users/{owner}/api-keys/{}", created.api_key.id);
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, location)).json(created))
}

/// Delete an API key of a user
///
/// Revokes the access tokens that were issued for it.
#[utoipa::path(
    delete,
    path = "/admin/users/{id}/api-keys/{key_id}",
    operation_id = "delete_api_key",
    tag = "users",
    security(("oauth2" = ["users:write"]), ("bearer" = [])),
    params(
        ("id" = String, Path, description = "The id of the user"),
        ("key_id" = String, Path, description = "The id of the API key"),
    ),
    responses(
        (status = 204, description = "API key deleted"),
        (status = 404, description = "User or API key not found"),
    ),
)]
pub(crate) async fn delete(
    permit: Permit<UsersWrite>,
    app: web::Data<App>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    refuse_api_key(&permit.authority)?;
    let (owner, key) = path.into_inner();
    super::delete(&app, id(&owner)?, &key, &permit.authority).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
