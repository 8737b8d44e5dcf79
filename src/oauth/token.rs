//! `POST /token`: the form, the client, the grant, the answer (RFC 6749 §3.2).

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
    OAuthError, client_auth, client_credentials, error::OAuthErrorBody, form::Form, password, refresh, uncached,
};
use crate::{app::App, audit::Origin, clients::Client, error::Error, principal};

/// The grants that [`handle`] knows.
pub(super) const GRANT_TYPES: [&str; 3] = ["password", "refresh_token", "client_credentials"];

/// A request for a token, once its client is known.
pub(super) struct TokenRequest<'r> {
    pub(super) app: &'r App,
    pub(super) client: Arc<Client>,
    pub(super) form: &'r Form,
    pub(super) origin: Origin,
    pub(super) user_agent: Option<&'r str>,
    pub(super) now: DateTime<Utc>,
}

/// The answer with a token (RFC 6749 §5.1).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenAnswer {
    /// A JWT of RFC 9068.
    pub(super) access_token: String,
    #[schema(example = "Bearer")]
    pub(super) token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    pub(super) expires_in: u64,
    /// What the token is good for.
    pub(super) scope: Scopes,
    /// Where the client has the grant `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "grt_…")]
    pub(super) refresh_token: Option<String>,
}

/// The parameters of [`handle`], for the description of this server.
#[derive(utoipa::ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "the form is read parameter by parameter")]
pub(crate) struct TokenForm {
    #[schema(example = "password")]
    grant_type: String,
    /// Or the e-mail address.
    username: Option<String>,
    #[schema(format = "password")]
    password: Option<String>,
    /// With the grant `refresh_token`.
    refresh_token: Option<String>,
    /// Space-delimited; absent: all that user and client both have.
    scope: Option<String>,
    /// Whom the token is for (RFC 8707); may be repeated.
    resource: Option<String>,
    /// Absent: the client `default`.
    client_id: Option<String>,
    /// Of a confidential client, unless it comes in an `Authorization: Basic` header.
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, with a `client_assertion` (RFC 7523).
    client_assertion_type: Option<String>,
    /// A JWT that the client signed, in the place of its secret.
    client_assertion: Option<String>,
}

/// Get a token
///
/// A user name and a password for a short-lived signed access token (RFC 6749 §4.3), a refresh token for the next one (§6),
/// or a client's own credentials for a token of its own (§4.4).
#[utoipa::path(
    post,
    path = "/token",
    operation_id = "token",
    tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded", example = json!({"grant_type": "password", "username": "admin", "password": "…"})),
    responses(
        (status = 200, description = "A token", body = TokenAnswer),
        (status = 400, description = "`invalid_request`, `invalid_grant`, `unauthorized_client`, `unsupported_grant_type`, `invalid_scope` or `invalid_target`", body = OAuthErrorBody<'_>),
        (status = 401, description = "`invalid_client`", body = OAuthErrorBody<'_>),
        (status = 408, description = "The form took too long to come", body = OAuthErrorBody<'_>),
        (status = 413, description = "More than 16 KiB", body = OAuthErrorBody<'_>),
        (status = 503, description = "`temporarily_unavailable`: too many logins at once, or the database is away", body = OAuthErrorBody<'_>, headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn handle(
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&req, body).await?;
    let now = app.now();
    let origin = principal::origin(&req, &app);
    let user_agent = req.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let client = client_auth::authenticate(&app, &req, &form, now).await?;
    // Before a password or a refresh token is used.
    if !app.keys.can_sign() {
        return Err(Error::NoSigningKey.into());
    }
    // A client that was disabled a moment ago and is enabled again: what it gets is younger than its revocation.
    let now = client.sessions_ended_at.map_or(now, |at| now.max(at + TimeDelta::seconds(1)));
    let origin = Origin { client_id: Some(client.client_id.to_string()), ..origin };
    let request = TokenRequest { app: &app, client, form: &form, origin, user_agent, now };
    let answer = match form.required("grant_type")? {
        "password" => password::grant(&request).await?,
        "refresh_token" => refresh::grant(&request).await?,
        "client_credentials" => client_credentials::grant(&request).await?,
        _ => return Err(OAuthError::unsupported_grant_type()),
    };
    Ok(uncached(StatusCode::OK).json(answer))
}
