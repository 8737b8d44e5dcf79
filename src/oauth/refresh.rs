//! The grant `refresh_token` (RFC 6749 §6, RFC 9700 §4.14): each use gives the next token and retires the one before.

use std::sync::Arc;

use super::{
    OAuthError,
    issue::{self, Asked},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{self, Event, Origin},
    changes,
    clients::{ClientKind, GrantType},
    error::Error,
    sessions::{self, RefreshClaim, Session, Standing},
    users::User,
};

/// Gives a token, or says why not.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    if !request.client.grant_types.contains(&GrantType::RefreshToken) {
        return Err(OAuthError::unauthorized_client());
    }
    let claim =
        RefreshClaim::parse(request.form.required("refresh_token")?).ok_or_else(OAuthError::bad_refresh_token)?;
    let asked = Asked::read(request)?;
    if let Some(known) = request.app.sessions.kept(claim.session, claim.counter)
        // It may have changed meanwhile: whatever is wrong is looked at anew.
        && let Ok(Some(answer)) = attempt(request, &claim, &asked, known).await
    {
        return Ok(answer);
    }
    // Twice: another request may use the same token at the same time. It wins, and this one finds its successor.
    for _ in 0..2 {
        let session = request.app.sessions.read(claim.session).await?.ok_or_else(OAuthError::bad_refresh_token)?;
        if let Some(answer) = attempt(request, &claim, &asked, session).await? {
            return Ok(answer);
        }
    }
    Err(OAuthError::bad_refresh_token())
}

/// None: the session was changed since it was read.
async fn attempt(
    request: &TokenRequest<'_>,
    claim: &RefreshClaim,
    asked: &Asked,
    session: Arc<Session>,
) -> Result<Option<TokenAnswer>, OAuthError> {
    if !is_ours(request, claim, &session) {
        return Err(OAuthError::bad_refresh_token());
    }
    match session.standing(claim.counter, leeway(request), request.now) {
        Standing::Unknown | Standing::Over => return Err(OAuthError::bad_refresh_token()),
        Standing::Reused => {
            end_reused(request, &session).await?;
            return Err(OAuthError::bad_refresh_token());
        }
        Standing::Current | Standing::LostAnswer => {}
    }
    // Before the token is used up: what is refused here leaves it as it is.
    let user = user(request, &session).await?;
    let scope = asked.granted(request, Some(&session), &user)?;
    let audience = asked.audience(request, Some(&session))?;
    let mut session = Arc::unwrap_or_clone(session);
    if session.counter != claim.counter || rotate(request, &mut session).await? {
        return issue::answer(request, &user, &session, scope, audience).map(Some);
    }
    Ok(None)
}

/// Whether this server made the token, for this client, and the client was not disabled since.
fn is_ours(request: &TokenRequest<'_>, claim: &RefreshClaim, session: &Session) -> bool {
    request.app.refresh_tokens.verify(claim, &session.secret)
        && session.client_id == request.client.client_id
        && !session.ended_with(&request.client)
}

/// A client that proves who it is may come again until the next token is used; a public one for a short time.
fn leeway(request: &TokenRequest<'_>) -> Option<std::time::Duration> {
    match request.client.kind {
        ClientKind::Confidential => None,
        ClientKind::Public => Some(request.app.config.tokens.refresh_leeway),
    }
}

/// The user as the database has it now.
async fn user(request: &TokenRequest<'_>, session: &Session) -> Result<Arc<User>, OAuthError> {
    let user = request.app.users.read(session.user_id).await?;
    user.filter(|user| !user.disabled).ok_or_else(OAuthError::bad_refresh_token)
}

async fn rotate(request: &TokenRequest<'_>, session: &mut Session) -> Result<bool, OAuthError> {
    let (address, user_agent) = (request.origin.address.as_deref(), request.user_agent.as_deref());
    Ok(sessions::rotate(request.app, session, address, user_agent, request.now).await?)
}

/// Two have the token, and nobody can say which of them is the thief: the session ends for both.
async fn end_reused(request: &TokenRequest<'_>, session: &Session) -> Result<(), OAuthError> {
    let TokenRequest { app, origin, now, .. } = request;
    let origin = Origin { actor: Some(session.user_id.to_string()), ..origin.clone() };
    let ended = app.store.transact(async |conn| {
        if sessions::end(conn, session.id, *now).await? {
            let details = serde_json::json!({"session": session.id});
            let event = Event::failure("refresh_token.reused").subject(&session.user_id).details(details);
            audit::record(conn, event, &origin, *now).await?;
        }
        Ok::<_, Error>(())
    });
    ended.await?;
    changes::catch_up(app, &app.store).await?;
    tracing::warn!(session = %session.id, request_id = origin.request_id, "a refresh token was used again: its session has ended");
    Ok(())
}
