//! `POST /revoke`: token revocation (RFC 7009).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use chrono::DateTime;
use grantd_guard::{Claims, RevocationKind, TokenError};

use super::{OAuthError, client_auth, error::OAuthErrorBody, form::Form, if_good, uncached};
use crate::{
    app::App,
    audit::{self, Event, Kind, Origin},
    clients::Client,
    ids::SessionId,
    sessions::{self, RefreshClaim},
    store::{Revocation, TokensExpire},
};

/// The parameters of a revocation request (RFC 7009 §2.1).
#[derive(utoipa::ToSchema)]
#[schema(as = RevokeRequest)]
#[expect(dead_code, reason = "the form is read parameter by parameter")]
pub(crate) struct RevokeForm {
    /// A refresh token or an access token.
    token: String,
    /// Ignored: the type is known from the token.
    token_type_hint: Option<String>,
    /// The client `default` if absent.
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

/// Revoke a token
///
/// Logs a user out: a refresh token or an access token of a user ends its session, and all tokens of the session are revoked.
/// A client's own access token, and one from a token exchange, is revoked alone. A token that is unknown, expired or revoked is not an error.
#[utoipa::path(
    post,
    path = "/revoke",
    operation_id = "revoke",
    tag = "tokens",
    security((), ("client" = [])),
    params((
        "Grantd-User-Address" = Option<String>, Header, example = "203.0.113.7",
        description = "Address of the user. Ignored unless a confidential client with `forwards_address` sends it",
    )),
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded", example = json!({"token": "grt_…"})),
    responses(
        (status = 200, description = "Token revoked, or already invalid"),
        (status = 400, description = "`invalid_request`, or `invalid_grant`: token of another client", body = OAuthErrorBody<'_>),
        (status = 401, description = "`invalid_client`", body = OAuthErrorBody<'_>),
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
    let client = client_auth::authenticate(&app, &req, &form, now).await?;
    let origin = client_auth::origin(&app, &req, &client)?;
    let token = form.required("token")?;
    match RefreshClaim::parse(token) {
        Some(claim) => refresh_token(&app, &client, &claim, origin).await?,
        None => {
            if let Some(claims) = genuine(&app, token).await? {
                access_token(&app, &client, &claims, origin).await?;
            }
        }
    }
    Ok(uncached(StatusCode::OK).finish())
}

/// Returns the claims of an access token, for any audience. `None`: it is invalid, expired or revoked.
async fn genuine(app: &App, token: &str) -> Result<Option<Arc<Claims>>, OAuthError> {
    let verify = || app.guard.verify_for_anybody(token, app.now().timestamp());
    let verdict = match verify() {
        // Another server may have created the key a moment ago: a success without a revocation would leave the token
        // valid.
        Err(TokenError::UnknownKey) => {
            app.sync.next(app.config.database.timeout).await?;
            verify()
        }
        verdict => verdict,
    };
    if_good(verdict)
}

async fn refresh_token(app: &App, client: &Client, claim: &RefreshClaim, origin: Origin) -> Result<(), OAuthError> {
    let Some(session) = app.sessions.read(claim.session).await? else { return Ok(()) };
    if !app.refresh_tokens.verify(claim, &session.secret) {
        return Ok(());
    }
    // Any token of the session ends it, also a retired one: a client that logs out may have lost the response to a
    // refresh.
    if session.client_id != client.client_id {
        return Err(OAuthError::not_this_clients());
    }
    end_session(app, session.id, &session.user_id.to_string(), origin).await
}

async fn access_token(app: &App, client: &Client, claims: &Claims, origin: Origin) -> Result<(), OAuthError> {
    if claims.client_id != client.client_id.as_str() {
        return Err(OAuthError::not_this_clients());
    }
    // A token that was exchanged is revoked alone: its session is the subject token's.
    if claims.act.is_none()
        && let Some(session) = claims.sid.as_deref().and_then(SessionId::parse)
    {
        return end_session(app, session, &claims.sub, origin).await;
    }
    let origin = Origin { actor: Some(claims.sub.clone()), ..origin };
    let (now, expires_at) = (app.now(), DateTime::from_timestamp(claims.exp, 0).unwrap_or_else(|| app.now()));
    let revoke = app.write(async |tx| {
        tx.revoke(Revocation::new(RevocationKind::Token, &claims.jti, TokensExpire::At(expires_at)));
        let details = serde_json::json!({"jti": claims.jti});
        let event = Event::success(Kind::TokenRevoked).subject(&claims.sub).details(details);
        Ok(audit::record(tx, event, &origin, now).await?)
    });
    Ok(revoke.await?)
}

/// Ends a session on behalf of its user. A session that has ended before is not an error.
async fn end_session(app: &App, id: SessionId, user: &str, origin: Origin) -> Result<(), OAuthError> {
    let (origin, now) = (Origin { actor: Some(user.to_owned()), ..origin }, app.now());
    let event = || Event::success(Kind::SessionEnded);
    app.write(async |tx| sessions::end(tx, id, event(), &origin, now).await).await?;
    Ok(())
}
