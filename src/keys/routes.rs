//! `/.well-known/jwks.json` and `/admin/signing-keys`.

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

/// Get the public keys
///
/// The JWK set (RFC 7517 §5) with which services verify access tokens offline.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = "tokens",
    responses(
        (status = 200, description = "The JWK set", body = Object),
        (status = 304, description = "Not modified since the `ETag` in `If-None-Match`"),
    )
)]
pub(crate) async fn jwks(app: web::Data<App>, req: HttpRequest) -> HttpResponse {
    let (jwks, max_age) = app.keys.published();
    Document::json(jwks, max_age).answer(&req)
}

/// List signing keys
///
/// The next, the active and the retired signing keys, oldest first. The list always fits one page.
#[utoipa::path(
    get,
    path = "/admin/signing-keys",
    operation_id = "list_signing_keys",
    tag = "keys",
    security(("oauth2" = ["keys:read"]), ("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "Maximum number of items, 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "Always empty: there is no second page"),
    ),
    responses((status = 200, description = "The signing keys", body = Page<SigningKey>))
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

/// A signing key to create.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewSigningKey)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// The server's setting if absent.
    #[schema(value_type = Option<Algorithm>)]
    algorithm: Option<String>,
    /// Sign with the new key at once. Services that cache the public keys reject its tokens until they fetch the JWK set again.
    #[serde(default)]
    immediately: bool,
}

/// Rotate the signing key
///
/// Creates and publishes the next key. It becomes active when all caches of the JWK set have expired.
#[utoipa::path(
    post,
    path = "/admin/signing-keys",
    operation_id = "rotate_signing_keys",
    tag = "keys",
    security(("oauth2" = ["keys:write"]), ("bearer" = [])),
    request_body(content = NewKeyBody, example = json!({"algorithm": "ES256", "immediately": false})),
    responses((status = 201, description = "The new key", body = SigningKey, headers(("Location" = String))))
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
/// Deletes the key at once and invalidates the tokens that it signed. If it was the active key, a new key replaces it.
#[utoipa::path(
    delete,
    path = "/admin/signing-keys/{kid}",
    operation_id = "delete_signing_key",
    tag = "keys",
    security(("oauth2" = ["keys:write"]), ("bearer" = [])),
    params(("kid" = String, Path, description = "The `kid` of the key")),
    responses(
        (status = 204, description = "Key retired"),
        (status = 404, description = "Key not found"),
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
