//! The grant `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): an access token or an API key for a narrower
//! access token.

use chrono::DateTime;
use grantd_guard::{Actor, Claims, Scopes, TokenError};

use super::{
    OAuthError, if_good,
    issue::{self, AccessRequest},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    api_keys::{self, OwnedKey},
    audit::{self, Event, Kind, Method, Origin},
    clients::{ClientKind, GrantType},
    error::Error,
    ids::{ApiKeyId, SessionId, UserId},
    names::ClientId,
    secret, sessions, users,
};

/// The only type of tokens that are accepted and issued (RFC 8693 §3).
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The maximum number of nested actors. Each exchange adds one, and tokens must stay small.
const MAX_ACTORS: usize = 8;

/// A verified subject token.
enum Subject {
    Token(std::sync::Arc<Claims>),
    Key(std::sync::Arc<OwnedKey>),
}

/// Issues an access token that has no more than the subject token: no other scopes, and not for longer.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    if !request.client.grant_types.contains(&GrantType::TokenExchange) {
        return Err(OAuthError::unauthorized_client(&request.client.client_id, GrantType::TokenExchange));
    }
    let token = subject_token(request)?;
    let access = AccessRequest::read(request)?;
    let audience = access.audience(request, None)?;
    let claims = match subject(request, token).await? {
        Subject::Token(claims) => {
            let limit = scopes_now(request, &claims).await?;
            Claims {
                sub: claims.sub.clone(),
                exp: issue::expires_at(request).timestamp().min(claims.exp),
                sid: claims.sid.clone(),
                username: claims.username.clone(),
                roles: claims.roles.clone(),
                auth_time: claims.auth_time,
                session_client_id: session_client(request, &claims),
                act: Some(actor(request, claims.act.clone())?),
                ..issue::claims(request, granted(request, &access, &limit)?, audience)
            }
        }
        Subject::Key(key) => {
            let scope = granted(request, &access, &key.scopes())?;
            let expires_at = issue::expires_at(request);
            let expires_at = key.key.expires_at.map_or(expires_at, |at| at.min(expires_at));
            Claims {
                sub: key.owner.id.to_string(),
                exp: expires_at.timestamp(),
                // The feed of revocations has the key's id as a session, once the key is deleted.
                sid: Some(key.key.id.to_string()),
                username: Some(key.owner.username.to_string()),
                roles: Some(issue::role_names(&key.owner)),
                act: Some(actor(request, None)?),
                ..issue::claims(request, scope, audience)
            }
        }
    };
    record(request, &claims).await?;
    issue::signed(request, claims, None)
}

/// Reads the parameters of RFC 8693 §2.1.
fn subject_token<'r>(request: &TokenRequest<'r>) -> Result<&'r str, OAuthError> {
    let form = request.form;
    let token = form.required("subject_token")?;
    if form.required("subject_token_type")? != ACCESS_TOKEN {
        return Err(OAuthError::invalid_request("unsupported subject_token_type; only access_token is supported"));
    }
    if form.optional("requested_token_type")?.is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(OAuthError::invalid_request("unsupported requested_token_type; only access_token is supported"));
    }
    if form.optional("actor_token")?.is_some() || form.optional("actor_token_type")?.is_some() {
        return Err(OAuthError::invalid_request("actor_token is not supported: the actor is the client"));
    }
    Ok(token)
}

/// One answer for all subject tokens that are refused (RFC 8693 §2.2.2). The reason is for the log.
fn refused(reason: &'static str) -> OAuthError {
    let description = "the subject token is invalid, expired or revoked, or this client may not present it";
    OAuthError::invalid_request(description).logged(reason)
}

/// Verifies the subject token, and that this client may present it.
async fn subject(request: &TokenRequest<'_>, token: &str) -> Result<Subject, OAuthError> {
    let TokenRequest { app, client, now, .. } = request;
    if token.starts_with(secret::API_KEY) {
        // Who has a key may present it at any client with this grant.
        let key = app.api_keys.verify(token, *now).await?.map_err(|error| refused(error.description()))?;
        return Ok(Subject::Key(key));
    }
    let verdict = app.guard.verify_for_anybody(token, app.now().timestamp());
    let reason = verdict.as_ref().err().copied().map_or("", TokenError::description);
    let claims = if_good(verdict)?.ok_or_else(|| refused(reason))?;
    // Verification has a leeway for clocks; a result must not be born expired.
    if claims.exp <= now.timestamp() {
        return Err(refused("the token expired"));
    }
    let is_own = claims.client_id == client.client_id.as_str();
    // A service narrows the token of its caller. A public client cannot prove that it is the service.
    let is_audience = client.kind == ClientKind::Confidential
        && claims.aud.as_slice().iter().any(|one| client.audiences.iter().any(|own| own.as_str() == one));
    if is_own || is_audience { Ok(Subject::Token(claims)) } else { Err(refused("access token of another client")) }
}

/// Returns the client of the subject token's session, if it is not this client.
fn session_client(request: &TokenRequest<'_>, claims: &Claims) -> Option<String> {
    let client = claims.session_client_id.as_ref().unwrap_or(&claims.client_id);
    (claims.auth_time.is_some() && client != request.client.client_id.as_str()).then(|| client.clone())
}

/// Returns the scopes of a token that its client and its user still have.
async fn scopes_now(request: &TokenRequest<'_>, claims: &Claims) -> Result<Scopes, OAuthError> {
    let mut scopes = claims.scope.intersection(&client_scopes(request, &claims.client_id).await?);
    if let Some(client) = &claims.session_client_id {
        scopes = scopes.intersection(&client_scopes(request, client).await?);
    }
    let Some(id) = UserId::parse(&claims.sub) else {
        return Ok(scopes.intersection(&client_scopes(request, &claims.sub).await?));
    };
    let user = request.app.users.read(id).await?.filter(|user| !user.disabled);
    Ok(scopes.intersection(&user.ok_or_else(|| refused("user is disabled or was deleted"))?.scopes))
}

/// Returns the present scopes of a client of the subject token.
async fn client_scopes(request: &TokenRequest<'_>, id: &str) -> Result<Scopes, OAuthError> {
    let found = match id.parse::<ClientId>() {
        Ok(id) => request.app.clients.cached(&id).await?,
        Err(_) => None,
    };
    let found = found.filter(|found| !found.client.disabled);
    Ok(found.ok_or_else(|| refused("client is disabled or was deleted"))?.client.scopes.clone())
}

/// Returns the scope of the result: what was requested, or all, as far as subject token and client have it.
fn granted(request: &TokenRequest<'_>, access: &AccessRequest, limit: &Scopes) -> Result<Scopes, OAuthError> {
    let requested = access.scope.as_ref().unwrap_or(&request.client.scopes);
    let scope = requested.intersection(&request.client.scopes).intersection(limit);
    if scope.is_empty() {
        return Err(OAuthError::invalid_scope("the subject token has none of the requested scopes"));
    }
    Ok(scope)
}

/// Returns the claim `act` (RFC 8693 §4.1): this client, which acts for the actors of the subject token.
fn actor(request: &TokenRequest<'_>, before: Option<Actor>) -> Result<Actor, OAuthError> {
    let actor = Actor { sub: request.client.client_id.to_string(), act: before.map(Box::new) };
    if actor.chain().count() > MAX_ACTORS {
        return Err(OAuthError::invalid_request("the subject token was exchanged too many times"));
    }
    Ok(actor)
}

/// Records the exchange before the response: a token that is not in the audit log is not issued. Notes it in the row of the
/// session or key, too: an end of it that comes later then revokes the token, and one that came before refuses it.
async fn record(request: &TokenRequest<'_>, claims: &Claims) -> Result<(), OAuthError> {
    let TokenRequest { app, origin, now, .. } = request;
    // The token of a user without a login was issued for an API key.
    let key = claims.sid.as_deref().filter(|_| claims.auth_time.is_none()).and_then(ApiKeyId::parse);
    let session = claims.sid.as_deref().filter(|_| key.is_none()).and_then(SessionId::parse);
    let origin = Origin { actor: Some(claims.sub.clone()), method: key.map(Method::ApiKey), ..origin.clone() };
    let details = serde_json::json!({"grant": GrantType::TokenExchange.as_str(), "session": claims.sid});
    let expires_at = DateTime::from_timestamp(claims.exp, 0).unwrap_or(*now);
    let exchanged = app.store.transact(async |tx| {
        let is_live = match (key, session, UserId::parse(&claims.sub)) {
            // The owner before the key (lock order).
            (Some(key), _, Some(owner)) => {
                !users::lock(tx, owner).await?.disabled && api_keys::note_exchange(tx, key, *now, expires_at).await?
            }
            (None, Some(session), _) => sessions::note_exchange(tx, session, *now).await?,
            // The token of a client for itself.
            _ => true,
        };
        if is_live {
            let event = Event::success(Kind::Login).subject(&claims.sub).details(details.clone());
            audit::record(tx, event, &origin, *now).await?;
        }
        Ok::<_, Error>(is_live)
    });
    match exchanged.await {
        Ok(true) => Ok(()),
        Ok(false) | Err(Error::NotFound { .. }) => Err(refused("session or key has ended, or its user was disabled")),
        Err(error) => Err(error.into()),
    }
}
