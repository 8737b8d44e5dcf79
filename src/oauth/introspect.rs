//! `POST /introspect`: token introspection (RFC 7662).

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::ContentType},
    web,
};
use chrono::{DateTime, Utc};
use grantd_guard::{Audience, Claims, Scopes};
use serde::Serialize;

use super::{OAuthError, client_auth, error::OAuthErrorBody, form::Form, if_good, issue, uncached};
use crate::{
    app::App,
    clients::{Client, ClientKind, GrantType},
    principal, secret,
    sessions::{RefreshClaim, Standing},
};

/// The caller, which determines the tokens that it may see.
enum Caller {
    /// A token or client with the scope `tokens:introspect`: sees every token.
    Everything,
    /// A client: sees the tokens that were issued to it, and those for its audiences.
    Client(Arc<Client>),
}

impl Caller {
    /// `client_id`: the client that the token was issued to.
    fn may_see<A: AsRef<str>>(&self, client_id: Option<&str>, audiences: &[A]) -> bool {
        match self {
            Self::Everything => true,
            Self::Client(client) => {
                client_id == Some(client.client_id.as_str())
                    || audiences.iter().any(|one| client.audiences.iter().any(|own| own.as_str() == one.as_ref()))
            }
        }
    }
}

/// The state of a token (RFC 7662 §2.2). For an inactive token, only `active` is returned.
#[derive(Default, Serialize, utoipa::ToSchema)]
#[schema(as = Introspection)]
pub(crate) struct Answer<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    /// Username. Absent for tokens of the grant `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    /// `Bearer`, `refresh_token` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// Expiry in seconds since 1970, like `iat` and `nbf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    /// One audience, or an array of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
}

/// The parameters of an introspection request (RFC 7662 §2.1).
#[derive(utoipa::ToSchema)]
#[schema(as = IntrospectRequest)]
#[expect(dead_code, reason = "the form is read parameter by parameter")]
pub(crate) struct IntrospectForm {
    /// An access token, a refresh token or an API key.
    token: String,
    /// Ignored: the type is known from the token.
    token_type_hint: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

/// Introspect a token
///
/// A confidential client can introspect the tokens that were issued to it, and those for its audiences; a caller with the scope
/// `tokens:introspect` every token. A token that the caller may not see is reported as inactive.
#[utoipa::path(
    post,
    path = "/introspect",
    operation_id = "introspect",
    tag = "tokens",
    security(("oauth2" = ["tokens:introspect"]), ("bearer" = []), ("client" = [])),
    request_body(content = IntrospectForm, content_type = "application/x-www-form-urlencoded", example = json!({"token": "grt_…"})),
    responses(
        (status = 200, description = "The state of the token", body = Answer<'_>),
        (status = 400, description = "`invalid_request`", body = OAuthErrorBody<'_>),
        (status = 401, description = "`invalid_client` or `invalid_token`", body = OAuthErrorBody<'_>),
        (status = 403, description = "`insufficient_scope`", body = OAuthErrorBody<'_>),
        (status = 408, description = "Timeout while reading the body", body = OAuthErrorBody<'_>),
        (status = 413, description = "Body larger than 16 KiB", body = OAuthErrorBody<'_>),
        (status = 503, description = "`temporarily_unavailable`: database unavailable", body = OAuthErrorBody<'_>, headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn handle(
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&req, body).await?;
    let now = app.now();
    let caller = caller(&app, &req, &form, now).await?;
    let token = form.required("token")?;
    // The format tells the type, so `token_type_hint` is not needed.
    match RefreshClaim::parse(token) {
        Some(claim) => of_refresh_token(&app, &caller, &claim, now).await,
        None if token.starts_with(secret::API_KEY) => of_api_key(&app, &caller, token, now).await,
        None => of_access_token(&app, &caller, token, now),
    }
}

fn respond(answer: &Answer<'_>) -> HttpResponse {
    // Capacity for the whole body: no route is called more often.
    let mut body = Vec::with_capacity(1024);
    match serde_json::to_writer(&mut body, answer) {
        Ok(()) => uncached(StatusCode::OK).content_type(ContentType::json()).body(body),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn inactive() -> HttpResponse {
    respond(&Answer::default())
}

async fn caller(app: &App, req: &HttpRequest, form: &Form, now: DateTime<Utc>) -> Result<Caller, OAuthError> {
    if principal::has_token_or_key(req, app) {
        if ["client_secret", "client_assertion"].into_iter().any(|name| form.all(name).next().is_some()) {
            return Err(OAuthError::invalid_request("the caller authenticates in two ways at once"));
        }
        principal::introspector(req, app).await?;
        return Ok(Caller::Everything);
    }
    let client = client_auth::authenticate_reader(app, req, form, now).await?;
    if client.scopes.contains(principal::INTROSPECT.as_str()) {
        Ok(Caller::Everything)
    } else {
        Ok(Caller::Client(client))
    }
}

fn of_access_token(app: &App, caller: &Caller, token: &str, now: DateTime<Utc>) -> Result<HttpResponse, OAuthError> {
    let Some(claims) = if_good(app.guard.verify_for_anybody(token, now.timestamp()))? else { return Ok(inactive()) };
    // Reported as inactive, not as an error: the caller must not learn that the token exists (RFC 7662 §4).
    if !caller.may_see(Some(&claims.client_id), claims.aud.as_slice()) {
        return Ok(inactive());
    }
    Ok(respond(&Answer::of(&claims)))
}

impl<'a> Answer<'a> {
    fn of(claims: &'a Claims) -> Self {
        Self {
            active: true,
            scope: Some(&claims.scope),
            client_id: Some(&claims.client_id),
            username: claims.username.as_deref(),
            token_type: Some("Bearer"),
            exp: Some(claims.exp),
            iat: Some(claims.iat),
            nbf: claims.nbf,
            sub: Some(&claims.sub),
            aud: Some(&claims.aud),
            iss: Some(&claims.iss),
            jti: Some(&claims.jti),
            sid: claims.sid.as_deref(),
        }
    }
}

/// Introspects an API key.
async fn of_api_key(app: &App, caller: &Caller, key: &str, now: DateTime<Utc>) -> Result<HttpResponse, OAuthError> {
    let Ok(found) = app.api_keys.verify(key, now).await? else { return Ok(inactive()) };
    let audiences = found.audiences(&app.audience);
    // A key belongs to no client.
    if !caller.may_see(None, audiences) {
        return Ok(inactive());
    }
    let (id, sub) = (found.key.id.to_string(), found.owner.id.to_string());
    let aud = Audience::of(audiences.iter().map(ToString::to_string).collect());
    Ok(respond(&Answer {
        active: true,
        scope: Some(&found.scopes()),
        username: Some(found.owner.username.as_str()),
        token_type: Some("api_key"),
        exp: found.key.expires_at.map(|at| at.timestamp()),
        iat: Some(found.key.created_at.timestamp()),
        sub: Some(&sub),
        aud: Some(&aud),
        iss: Some(&app.issuer),
        jti: Some(&id),
        ..Answer::default()
    }))
}

/// Introspects a refresh token. It is active if its client would get an access token for it: the checks are those of the
/// refresh grant, without a use of the token.
async fn of_refresh_token(
    app: &App,
    caller: &Caller,
    claim: &RefreshClaim,
    now: DateTime<Utc>,
) -> Result<HttpResponse, OAuthError> {
    let Some(session) = app.sessions.read(claim.session).await? else { return Ok(inactive()) };
    if !app.refresh_tokens.verify(claim, &session.secret) {
        return Ok(inactive());
    }
    let Some(found) = app.clients.cached(&session.client_id).await? else { return Ok(inactive()) };
    let client = &found.client;
    let leeway = (client.kind == ClientKind::Public).then_some(app.config.tokens.refresh_leeway);
    let is_current = matches!(session.standing(claim.counter, leeway, now), Standing::Current | Standing::Retry);
    let user = app.users.read(session.user_id).await?.filter(|user| !user.disabled);
    let (Some(user), true, false) = (user, is_current, client.disabled) else { return Ok(inactive()) };
    let audience = issue::audience_of(app, client, Some(&session));
    let scope =
        session.scope.as_ref().unwrap_or(&client.scopes).intersection(&client.scopes).intersection(&user.scopes);
    let is_of_use = client.grant_types.contains(&GrantType::RefreshToken)
        && !session.ended_with(client)
        && !scope.is_empty()
        && !audience.is_empty();
    if !is_of_use || !caller.may_see(Some(client.client_id.as_str()), &audience) {
        return Ok(inactive());
    }
    let (sub, sid, aud) =
        (user.id.to_string(), session.id.to_string(), Audience::of(audience.into_iter().map(String::from).collect()));
    Ok(respond(&Answer {
        active: true,
        scope: Some(&scope),
        client_id: Some(client.client_id.as_str()),
        username: Some(user.username.as_str()),
        token_type: Some("refresh_token"),
        exp: Some(session.refresh_token_expires_at().timestamp()),
        iat: Some(session.refresh_token_issued_at().timestamp()),
        nbf: None,
        sub: Some(&sub),
        aud: Some(&aud),
        iss: Some(&app.issuer),
        jti: Some(&format!("{sid}.{}", claim.counter)),
        sid: Some(&sid),
    }))
}
