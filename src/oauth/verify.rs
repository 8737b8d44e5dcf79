//! `GET /verify`: forward authentication for proxies (nginx `auth_request`, Traefik `forwardAuth`, Caddy `forward_auth`).

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use grantd_guard::{Refusal, Scopes};

use crate::{
    app::App,
    error::{Code, Error},
    http::{
        no_store,
        problem::{Problem, ProblemBody},
        query::Query,
    },
    principal,
};

/// Verify a token for a proxy
///
/// Takes the credentials of the original request. The proxy must overwrite the `X-Auth-…` headers of the request that it forwards
/// with those of the response, and remove those that the response does not have.
#[utoipa::path(
    get,
    path = "/verify",
    operation_id = "verify",
    tag = "tokens",
    security(("oauth2" = []), ("bearer" = [])),
    params(
        ("scope" = Option<String>, Query, description = "Required scopes, space-delimited. If absent, any valid token is accepted"),
        ("audience" = Option<String>, Query, description = "Required audience. The server's own audience if absent"),
    ),
    responses(
        (status = 204, description = "Valid token", headers(
            ("X-Auth-Subject" = String, description = "Id of the user or client"),
            ("X-Auth-Username" = String, description = "Username, for tokens of users"),
            ("X-Auth-Client" = String, description = "Client that the token was issued to"),
            ("X-Auth-Scope" = String, description = "Scopes of the token"),
            ("X-Auth-Session" = String, description = "Session id, for tokens of users"),
        )),
        (status = 400, description = "More than one token, or a malformed `Authorization` header", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "Missing or invalid token", body = ProblemBody, content_type = "application/problem+json", headers(("WWW-Authenticate" = String))),
        (status = 403, description = "Missing scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Malformed scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Revocations unknown: the database has been unavailable for too long", body = ProblemBody, content_type = "application/problem+json", headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn handle(app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req);
    // The caller is verified before the query is validated, which an anonymous caller need not learn about.
    let audience = query.as_ref().ok().and_then(|query| query.one("audience").ok().flatten());
    let principal = principal::principal(&req, &app, audience).await?;
    let query = query?;
    let one = |name| query.one(name).map_err(Error::from);
    one("audience")?;
    let malformed = |_| Error::invalid("scope", Code::Format, "must be a space-delimited list of scope names");
    let needed: Scopes = one("scope")?.unwrap_or_default().parse().map_err(malformed)?;
    let scopes = principal.scopes();
    if !scopes.contains_all(&needed) {
        return Err(Refusal::Scope(needed).into());
    }
    // Not cached: a proxy that kept the response would let the token through after its revocation.
    let mut answer = no_store(StatusCode::NO_CONTENT);
    let (subject, scope) = (principal.subject(), scopes.to_string());
    for (name, value) in [
        ("X-Auth-Subject", Some(&*subject)),
        ("X-Auth-Username", principal.username()),
        ("X-Auth-Client", principal.client_id()),
        ("X-Auth-Scope", Some(&*scope).filter(|scope| !scope.is_empty())),
        ("X-Auth-Session", principal.session()),
    ] {
        if let Some(value) = value {
            answer.insert_header((name, value));
        }
    }
    Ok(answer.finish())
}
