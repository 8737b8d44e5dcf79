//! `GET /.well-known/oauth-authorization-server`: what this server says of itself (RFC 8414).

use actix_web::{HttpRequest, HttpResponse, web};
use grantd_guard::Scope;
use serde::Serialize;

use super::{client_auth::METHODS, token::GRANT_TYPES};
use crate::{
    app::App,
    http::{
        cache::cacheable,
        problem::{Problem, ProblemBody},
    },
    roles,
};

/// What the server says of itself. It names what is really there.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Metadata)]
pub(crate) struct Metadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<Scope>,
    /// None: there is no authorization endpoint.
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 3],
    service_documentation: String,
}

/// What this server can do
///
/// For programs (RFC 8414): where its endpoints are, and what they take.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "metadata",
    tag = "oauth",
    responses(
        (status = 200, description = "The metadata", body = Metadata),
        (status = 304, description = "Not changed since the ETag of If-None-Match"),
        (status = 503, description = "The database is away", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn handle(app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let scopes = roles::list_scopes(&app).await?;
    let url = |path: &str| format!("{}{path}", app.issuer);
    let grants = GRANT_TYPES.into_iter().filter(|grant| app.config.tokens.password_grant || *grant != "password");
    let metadata = Metadata {
        issuer: app.issuer.clone(),
        token_endpoint: url("/token"),
        jwks_uri: url("/.well-known/jwks.json"),
        scopes_supported: scopes.into_iter().map(|scope| scope.name).collect(),
        response_types_supported: Vec::new(),
        grant_types_supported: grants.collect(),
        token_endpoint_auth_methods_supported: METHODS,
        service_documentation: url("/docs"),
    };
    Ok(cacheable(&req, &metadata))
}
