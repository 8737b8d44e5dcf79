//! `GET /.well-known/oauth-authorization-server`: authorization server metadata (RFC 8414).

use actix_web::{HttpRequest, HttpResponse, web};
use grantd_guard::Scope;
use serde::Serialize;

use super::{
    client_auth::{INTROSPECTION_METHODS, METHODS},
    token::GRANT_TYPES,
};
use crate::{
    app::App,
    clients::ALGORITHMS,
    http::{
        Documents,
        cache::{Document, MAX_AGE},
        nothing_at,
        problem::{Problem, ProblemBody},
    },
    roles,
};

/// The metadata of this server (RFC 8414 §2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Metadata)]
pub(crate) struct Metadata {
    issuer: String,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    /// The feed of revocations, for services that verify tokens offline.
    revocations_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<Scope>,
    /// Empty: there is no authorization endpoint.
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 4],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 3],
    introspection_endpoint_auth_methods_supported: [&'static str; 4],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 3],
    revocation_endpoint_auth_methods_supported: [&'static str; 4],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 3],
    service_documentation: String,
}

/// Get the server metadata
///
/// The endpoints of this server, and the grants, scopes and authentication methods that they support (RFC 8414).
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "metadata",
    tag = "tokens",
    responses(
        (status = 200, description = "The metadata", body = Metadata),
        (status = 304, description = "Not modified since the `ETag` in `If-None-Match`"),
        (status = 503, description = "Database unavailable", body = ProblemBody, content_type = "application/problem+json", headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn handle(
    app: web::Data<App>,
    documents: web::Data<Documents>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    // Read before the scopes: a change in between must not be cached under its own version.
    let version = app.sync.version_of_scopes();
    if let Some(document) = documents.metadata.get(&version) {
        return Ok(document.answer(&req));
    }
    let scopes = roles::all_scopes(&mut app.store.read().await?).await?;
    let url = |path: &str| format!("{}{path}", app.issuer);
    let grants = GRANT_TYPES.into_iter().filter(|grant| app.config.tokens.password_grant || *grant != "password");
    let metadata = Metadata {
        issuer: app.issuer.clone(),
        token_endpoint: url("/token"),
        introspection_endpoint: url("/introspect"),
        revocation_endpoint: url("/revoke"),
        revocations_endpoint: url("/revocations"),
        jwks_uri: url("/.well-known/jwks.json"),
        scopes_supported: scopes.iter().cloned().collect(),
        response_types_supported: Vec::new(),
        grant_types_supported: grants.collect(),
        token_endpoint_auth_methods_supported: METHODS,
        token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        introspection_endpoint_auth_methods_supported: INTROSPECTION_METHODS,
        introspection_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        revocation_endpoint_auth_methods_supported: METHODS,
        revocation_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        service_documentation: url("/docs"),
    };
    Ok(documents.metadata.put(version, Document::of(&metadata, MAX_AGE)).answer(&req))
}

/// Returns the metadata of an issuer with a path, which follows the well-known path (RFC 8414 §3.1).
pub(crate) async fn at_path(
    app: web::Data<App>,
    documents: web::Data<Documents>,
    req: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let of_issuer =
        app.issuer.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    if !of_issuer.is_empty() && path.trim_end_matches('/') == of_issuer.trim_end_matches('/') {
        handle(app, documents, req).await
    } else if path.trim_end_matches('/').is_empty() {
        Err(nothing_at(&req))
    } else {
        Err(Problem::not_found("this is not the path of the issuer"))
    }
}
