//! The grant `refresh_token` (RFC 6749 §6). Its rules are in `sessions/rotation.rs`.

use super::{
    OAuthError,
    issue::{self, AccessRequest},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{Event, Kind, Origin},
    clients::{ClientKind, GrantType},
    sessions::{self, RefreshClaim, Session, Standing, Use},
};

/// How often a token is tried. Others may use the same token at the same time: one of them wins, and the rest find another
/// session.
const TRIES: usize = 3;

/// Uses a refresh token, and issues the next one with an access token.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    let TokenRequest { app, client, origin, now, .. } = request;
    if !client.grant_types.contains(&GrantType::RefreshToken) {
        return Err(OAuthError::unauthorized_client(&client.client_id, GrantType::RefreshToken));
    }
    let refused = OAuthError::bad_refresh_token;
    let claim = RefreshClaim::parse(request.form.required("refresh_token")?)
        .ok_or_else(|| refused("malformed refresh token"))?;
    let access = AccessRequest::read(request)?;
    for _ in 0..TRIES {
        let session = app.sessions.read(claim.session).await?.ok_or_else(|| refused("unknown session"))?;
        let user = app.users.read(session.user_id).await?.ok_or_else(|| refused("user was deleted"))?;
        if !is_ours(request, &claim, &session) {
            return Err(refused("refresh token of another client or server, or client was disabled since"));
        }
        let standing = session.standing(claim.counter, leeway(request), *now);
        match standing {
            Standing::Unknown => return Err(refused("unknown refresh token")),
            Standing::Over => return Err(refused("session has ended or expired")),
            Standing::Reused => {
                end_reused(request, &session).await?;
                return Err(refused("refresh token reused"));
            }
            Standing::Current | Standing::Retry if user.disabled => {
                return Err(refused("account disabled"));
            }
            Standing::Current | Standing::Retry => {}
        }
        // Before the token is used: what is refused here leaves it as it is.
        let scope = access.granted(request, Some(&session), &user)?;
        let audience = access.audience(request, Some(&session))?;
        let one = Use {
            access_expires_at: issue::expires_at(request),
            refresh_token_ttl: app.config.tokens.refresh_token_ttl,
            address: origin.address.clone(),
            user_agent: sessions::truncated(request.user_agent),
            now: *now,
        };
        if let Some(session) = app.sessions.use_token(&session, standing, one).await? {
            return issue::answer(request, &user, &session, scope, audience);
        }
    }
    Err(refused("refresh token used by several requests at once"))
}

/// Returns whether this server issued the token, to this client, which was not disabled since.
fn is_ours(request: &TokenRequest<'_>, claim: &RefreshClaim, session: &Session) -> bool {
    request.app.refresh_tokens.verify(claim, &session.secret)
        && session.client_id == request.client.client_id
        && !session.ended_with(&request.client)
}

/// Returns how long a retry is accepted: of a client that authenticates until the next token is used, of a public one for a
/// short time.
fn leeway(request: &TokenRequest<'_>) -> Option<std::time::Duration> {
    match request.client.kind {
        ClientKind::Confidential => None,
        ClientKind::Public => Some(request.app.config.tokens.refresh_leeway),
    }
}

/// Ends the session of a reused token: two parties have it, and either may be the thief.
async fn end_reused(request: &TokenRequest<'_>, session: &Session) -> Result<(), OAuthError> {
    let TokenRequest { app, origin, now, .. } = request;
    let origin = Origin { actor: Some(session.user_id.to_string()), ..origin.clone() };
    let event = || Event::failure(Kind::RefreshTokenReused);
    let ended = app.write(async |tx| sessions::end(tx, session.id, event(), &origin, *now).await).await?;
    // Of several requests at once with the same token, one ends the session.
    if ended {
        app.metrics.refresh_reuse.add();
    }
    let request_id = origin.request_id;
    tracing::warn!(session = %session.id, request_id, "a refresh token was reused: its session has ended");
    Ok(())
}
