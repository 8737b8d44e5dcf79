//! What is public of the signing keys, and how operators change them.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use serde::Deserialize;

use super::SigningKey;
use crate::{
    app::App,
    config::Algorithm,
    error::{Code, Error, FieldError},
    http::{
        body::{self, Members},
        cache::Document,
        no_store,
        page::Page,
        problem::Problem,
        query::Query,
    },
    principal::{KeysRead, KeysWrite, Permit},
};

/// The public keys
///
/// For services that check tokens by themselves (RFC 7517 §5).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = "oauth",
    responses(
        (status = 200, description = "The JWK set", body = Object),
        (status = 304, description = "Not changed since the ETag of If-None-Match"),
    )
)]
pub(crate) async fn jwks(app: web::Data<App>, req: HttpRequest) -> HttpResponse {
    let (jwks, max_age) = app.keys.published();
    Document::json(jwks, max_age).answer(&req)
}

/// The signing keys
///
/// Those whose tokens may live, by age; all on one page, for there are never many.
#[utoipa::path(
    get,
    path = "/admin/signing-keys",
    operation_id = "list_signing_keys",
    tag = "administration",
    security(("oauth2" = ["keys:read"]), ("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; there are never so many", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "There is no second page"),
    ),
    responses((status = 200, description = "The keys", body = Page<SigningKey>))
)]
pub(crate) async fn list(_: Permit<KeysRead>, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req)?;
    let mut members = Members::default();
    members.optional(Some(query.number("limit", 50, 1..=200)));
    let second =
        |_: &str| Err::<(), _>(FieldError::new("cursor", Code::Unknown, "the list has a single page; omit cursor"));
    members.parameter(&query, "cursor", second);
    members.finish(Some(()))?;
    let keys = super::list(&mut app.store.read().await?, app.now()).await?;
    Ok(no_store(StatusCode::OK).json(Page::whole(keys)))
}

/// What key to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewSigningKey)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// Absent: as set for the server.
    #[schema(value_type = Option<Algorithm>)]
    algorithm: Option<String>,
    /// Whether it signs at once: services that keep the public keys refuse its tokens until they ask again.
    #[serde(default)]
    immediately: bool,
}

/// Make the key that signs next
///
/// It is published now, and signs once every service can know it.
#[utoipa::path(
    post,
    path = "/admin/signing-keys",
    operation_id = "rotate_signing_keys",
    tag = "administration",
    security(("oauth2" = ["keys:write"]), ("bearer" = [])),
    request_body(content = NewKeyBody, example = json!({"algorithm": "ES256", "immediately": false})),
    responses((status = 201, description = "The key", body = SigningKey, headers(("Location" = String))))
)]
pub(crate) async fn rotate(
    permit: Permit<KeysWrite>,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: NewKeyBody = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let algorithm = body.algorithm.map(|name| name.parse()).transpose().map_err(Error::from)?;
    let (new, origin, now) = (app.keys.generate(algorithm).await?, &permit.authority.origin, app.now());
    let key = app.write(async |tx| app.keys.rotate(tx, &new, body.immediately, origin, now).await).await?;
    let location = format!("/admin/signing-keys/{}", key.kid);
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, location)).json(key))
}

/// Retire a compromised key
///
/// It is gone at once, and its tokens are good for nothing. In the place of the active one another signs at once.
#[utoipa::path(
    delete,
    path = "/admin/signing-keys/{kid}",
    operation_id = "delete_signing_key",
    tag = "administration",
    security(("oauth2" = ["keys:write"]), ("bearer" = [])),
    params(("kid" = String, Path, description = "Which")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such key"),
    )
)]
pub(crate) async fn delete(
    permit: Permit<KeysWrite>,
    app: web::Data<App>,
    kid: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (new, origin, now) = (app.keys.generate(None).await?, &permit.authority.origin, app.now());
    app.write(async |tx| app.keys.retire(tx, &kid, &new, origin, now).await).await?;
    Ok(HttpResponse::NoContent().finish())
}
