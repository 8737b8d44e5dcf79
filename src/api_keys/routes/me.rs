//! `/users/me/api-keys`: the API keys of the current user.

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
    principal::{Me, refuse_api_key},
};

/// List the current user's API keys
///
/// Oldest first.
#[utoipa::path(
    get,
    path = "/users/me/api-keys",
    operation_id = "list_own_api_keys",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(Paging),
    responses((status = 200, description = "A page of API keys", body = Page<ApiKey>)),
)]
pub(crate) async fn list(me: Me, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let request = PageRequest::from_request(&req, List::ApiKeys, page::id)?;
    Ok(no_store(StatusCode::OK).json(super::page(&app, me.user.id, &request).await?))
}

/// Create an API key for the current user
///
/// The key can use scopes that the caller's credential has. The response has the key: it cannot be read again. An API key
/// cannot create another one.
#[utoipa::path(
    post,
    path = "/users/me/api-keys",
    operation_id = "create_own_api_key",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    request_body(content = NewBody),
    responses(
        (status = 201, description = "The API key", body = CreatedKey, headers(("Location" = String))),
        (status = 409, description = "100 live API keys, which is the maximum"),
    ),
)]
pub(crate) async fn create(
    me: Me,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    refuse_api_key(&me.authority)?;
    let body: NewBody = body::json(&req, body).await?;
    let me = me.again(&req).await?;
    let created = super::create(&app, me.user.id, body, &me.narrowed()).await?;
    let location = format!("/users/me/api-keys/{}", created.api_key.id);
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, location)).json(created))
}

/// Delete one of the current user's API keys
///
/// Revokes the access tokens that were issued for it.
#[utoipa::path(
    delete,
    path = "/users/me/api-keys/{id}",
    operation_id = "delete_own_api_key",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the API key")),
    responses(
        (status = 204, description = "API key deleted"),
        (status = 404, description = "API key not found, or of another user"),
    ),
)]
pub(crate) async fn delete(me: Me, app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    refuse_api_key(&me.authority)?;
    super::delete(&app, me.user.id, &id, &me.authority).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
