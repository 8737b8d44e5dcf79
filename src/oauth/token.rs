//! `POST /token`: the token endpoint (RFC 6749 §3.2).

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::USER_AGENT},
    web,
};
use chrono::{DateTime, TimeDelta, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

use super::{
    OAuthError, client_auth, client_credentials, error::OAuthErrorBody, exchange, form::Form, password, refresh,
    uncached,
};
use crate::{
    app::App,
    audit::Origin,
    clients::{Client, GrantType},
    error::Error,
};

/// The grants that [`handle`] knows.
pub(super) const GRANT_TYPES: [&str; 4] =
    ["password", "refresh_token", "client_credentials", GrantType::TokenExchange.as_str()];

/// A token request of an authenticated client.
pub(super) struct TokenRequest<'r> {
    pub(super) app: &'r App,
    pub(super) client: Arc<Client>,
    pub(super) form: &'r Form,
    pub(super) origin: Origin,
    pub(super) user_agent: Option<&'r str>,
    pub(super) now: DateTime<Utc>,
}

/// An issued token (RFC 6749 §5.1).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenAnswer {
    /// A JWT (RFC 9068).
    pub(super) access_token: String,
    #[schema(example = "Bearer")]
    pub(super) token_type: &'static str,
    /// Lifetime of the access token in seconds.
    #[schema(example = 900)]
    pub(super) expires_in: u64,
    /// Granted scopes, space-delimited.
    pub(super) scope: Scopes,
    /// Present for token exchange (RFC 8693 §2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "urn:ietf:params:oauth:token-type:access_token")]
    pub(super) issued_token_type: Option<&'static str>,
    /// Present if the client has the grant `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "grt_…")]
    pub(super) refresh_token: Option<String>,
    /// Present for the grant `password`. A login that sends it has a limit of failures of its own. It is no credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "grd_…")]
    pub(super) device_token: Option<String>,
}

/// The parameters of a token request.
#[derive(utoipa::ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "the form is read parameter by parameter")]
pub(crate) struct TokenForm {
    /// `password`, `refresh_token`, `client_credentials` or `urn:ietf:params:oauth:grant-type:token-exchange`.
    #[schema(example = "password")]
    grant_type: String,
    /// Username or email. Required for the grant `password`.
    #[schema(example = "admin")]
    username: Option<String>,
    /// Required for the grant `password`.
    #[schema(format = "password")]
    password: Option<String>,
    /// Device token of an earlier login of the user on this device, for the grant `password`.
    device_token: Option<String>,
    /// Required for the grant `refresh_token`.
    refresh_token: Option<String>,
    /// An access token or API key. Required for token exchange.
    subject_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token`. Required for token exchange.
    subject_token_type: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token` if present.
    requested_token_type: Option<String>,
    /// Requested scopes, space-delimited. If absent, all scopes that both user and client have.
    scope: Option<String>,
    /// Audience of the token (RFC 8707). Can be repeated.
    resource: Option<String>,
    /// The same as `resource`, for token exchange.
    audience: Option<String>,
    /// The client `default` if absent.
    client_id: Option<String>,
    /// Secret of a confidential client, unless it is sent in an `Authorization: Basic` header.
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`. Required with `client_assertion` (RFC 7523).
    client_assertion_type: Option<String>,
    /// JWT signed by the client, instead of a secret.
    client_assertion: Option<String>,
}

/// Issue a token
///
/// Issues an access token for a username and password (RFC 6749 §4.3), a refresh token (§6), client credentials (§4.4), or
/// another access token or an API key (RFC 8693).
/// The grants `password` and `refresh_token` also return a refresh token if the client has the grant `refresh_token`.
#[utoipa::path(
    post,
    path = "/token",
    operation_id = "token",
    tag = "tokens",
    params((
        "Grantd-User-Address" = Option<String>, Header, example = "203.0.113.7",
        description = "Address of the user. Ignored unless a confidential client with `forwards_address` sends it",
    )),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded", example = json!({"grant_type": "password", "username": "admin", "password": "…"})),
    responses(
        (status = 200, description = "The token", body = TokenAnswer),
        (status = 400, description = "`invalid_request`, `invalid_grant`, `unauthorized_client`, `unsupported_grant_type`, `invalid_scope` or `invalid_target`", body = OAuthErrorBody<'_>),
        (status = 401, description = "`invalid_client`", body = OAuthErrorBody<'_>),
        (status = 408, description = "Timeout while reading the body", body = OAuthErrorBody<'_>),
        (status = 413, description = "Body larger than 16 KiB", body = OAuthErrorBody<'_>),
        (status = 503, description = "`temporarily_unavailable`: too many concurrent logins, or database unavailable", body = OAuthErrorBody<'_>, headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn handle(
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&req, body).await?;
    let now = app.now();
    let user_agent = req.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let client = client_auth::authenticate(&app, &req, &form, now).await?;
    let origin = client_auth::origin(&app, &req, &client)?;
    // Before a password is hashed or a refresh token is rotated.
    if !app.keys.can_sign() {
        return Err(Error::NoSigningKey.into());
    }
    // After a client is disabled and enabled again: new tokens must be younger than its revocation.
    let now = client.sessions_ended_at.map_or(now, |at| now.max(at + TimeDelta::seconds(1)));
    let request = TokenRequest { app: &app, client, form: &form, origin, user_agent, now };
    let tokens = &app.metrics.tokens;
    let (answer, issued) = match form.required("grant_type")? {
        "password" => (password::grant(&request).await?, &tokens.password),
        "refresh_token" => (refresh::grant(&request).await?, &tokens.refresh_token),
        "client_credentials" => (client_credentials::grant(&request).await?, &tokens.client_credentials),
        exchange if exchange == GrantType::TokenExchange.as_str() => {
            (exchange::grant(&request).await?, &tokens.token_exchange)
        }
        _ => return Err(OAuthError::unsupported_grant_type()),
    };
    issued.add();
    Ok(uncached(StatusCode::OK).json(answer))
}
