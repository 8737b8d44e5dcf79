//! The grant `refresh_token` (RFC 6749 §6, RFC 9700 §4.14): each use gives the next token and retires the one before.

use std::sync::Arc;

use super::{
    OAuthError,
    form::Form,
    issue::{self, Asked},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{self, Event, Origin},
    changes,
    clients::{ClientKind, GrantType},
    error::Error,
    sessions::{self, Basis, Kept, RefreshClaim, Session, Standing},
};

/// Whether a request asks for this grant.
pub(super) fn is_asked(form: &Form) -> bool {
    form.optional("grant_type").is_ok_and(|grant| grant == Some(GrantType::RefreshToken.as_str()))
}

/// Gives a token with nothing but the statement that rotates the old one: client, session and user are what this server
/// remembers of them, and the statement sees to it that none of them was changed. None: everything is to be read.
pub(super) async fn from_memory(request: &TokenRequest<'_>, clients: i64) -> Option<TokenAnswer> {
    if !request.client.grant_types.contains(&GrantType::RefreshToken) {
        return None;
    }
    let claim = RefreshClaim::parse(request.form.required("refresh_token").ok()?)?;
    let kept = request.app.sessions.kept(claim.session, claim.counter)?;
    let asked = Asked::read(request).ok()?;
    attempt(request, &claim, &asked, kept, Some(clients)).await.ok()?
}

/// Gives a token, or says why not.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    if !request.client.grant_types.contains(&GrantType::RefreshToken) {
        return Err(OAuthError::unauthorized_client());
    }
    let claim =
        RefreshClaim::parse(request.form.required("refresh_token")?).ok_or_else(OAuthError::bad_refresh_token)?;
    let asked = Asked::read(request)?;
    // More than once: others may use the same token at the same time. One wins, and the rest find its successor.
    for _ in 0..3 {
        let session = request.app.sessions.read(claim.session).await?.ok_or_else(OAuthError::bad_refresh_token)?;
        let roles = request.app.changes.of_roles();
        let user = request.app.users.read(session.user_id).await?.ok_or_else(OAuthError::bad_refresh_token)?;
        if let Some(answer) = attempt(request, &claim, &asked, Kept { session, user, roles }, None).await? {
            return Ok(answer);
        }
    }
    Err(OAuthError::bad_refresh_token())
}

/// None: something was changed since it was read. `clients`: the number of changes that the client is as of, where session,
/// user and client are remembered.
async fn attempt(
    request: &TokenRequest<'_>,
    claim: &RefreshClaim,
    asked: &Asked,
    Kept { session, user, roles }: Kept,
    clients: Option<i64>,
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
    if user.disabled {
        return Err(OAuthError::bad_refresh_token());
    }
    // Before the token is used up: what is refused here leaves it as it is.
    let scope = asked.granted(request, Some(&session), &user)?;
    let audience = asked.audience(request, Some(&session))?;
    let mut session = Arc::unwrap_or_clone(session);
    let basis = clients.map(|clients| Basis { user: user.revision, clients, roles });
    if session.counter == claim.counter && !rotate(request, &mut session, basis).await? {
        return Ok(None);
    }
    let answer = issue::answer(request, &user, &session, scope, audience)?;
    request.app.sessions.keep(Kept { session: Arc::new(session), user, roles });
    Ok(Some(answer))
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

async fn rotate(request: &TokenRequest<'_>, session: &mut Session, basis: Option<Basis>) -> Result<bool, OAuthError> {
    let (address, user_agent) = (request.origin.address.as_deref(), request.user_agent);
    Ok(sessions::rotate(request.app, session, basis, address, user_agent, request.now).await?)
}

/// Two have the token, and nobody can say which of them is the thief: the session ends for both.
async fn end_reused(request: &TokenRequest<'_>, session: &Session) -> Result<(), OAuthError> {
    let TokenRequest { app, origin, now, .. } = request;
    let origin = Origin { actor: Some(session.user_id.to_string()), ..origin.clone() };
    let ended = app.store.transact(async |conn| {
        if sessions::end(conn, session.id, *now).await?.is_some() {
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
