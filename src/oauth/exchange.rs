//! The grant `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): an access token or an API key for a narrower
//! access token.

use chrono::{DateTime, Utc};
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
    ids::UserId,
    names::ClientId,
    secret,
    users::{self, User},
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
    match subject(request, token).await? {
        Subject::Token(claims) => {
            let limit = scopes_now(request, &claims).await?;
            let claims = Claims {
                sub: claims.sub.clone(),
                exp: issue::expires_at(request).timestamp().min(claims.exp),
                sid: claims.sid.clone(),
                username: claims.username.clone(),
                roles: claims.roles.clone(),
                auth_time: claims.auth_time,
                act: Some(actor(request, claims.act.clone())?),
                ..issue::claims(request, granted(request, &access, &limit)?, audience)
            };
            record(request, &claims, None).await?;
            issue::signed(request, claims, None)
        }
        Subject::Key(key) => {
            let scope = granted(request, &access, &key.scopes())?;
            let expires_at = issue::expires_at(request);
            let expires_at = key.key.expires_at.map_or(expires_at, |at| at.min(expires_at));
            let claims = Claims {
                sub: key.owner.id.to_string(),
                exp: expires_at.timestamp(),
                // The feed of revocations has the key's id as a session, once the key is deleted.
                sid: Some(key.key.id.to_string()),
                username: Some(key.owner.username.to_string()),
                roles: Some(issue::role_names(&key.owner)),
                act: Some(actor(request, None)?),
                ..issue::claims(request, scope, audience)
            };
            record(request, &claims, Some((&key, expires_at))).await?;
            issue::signed(request, claims, None)
        }
    }
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

/// Returns the scopes of a token that its user or client still has.
async fn scopes_now(request: &TokenRequest<'_>, claims: &Claims) -> Result<Scopes, OAuthError> {
    let own = if let Some(id) = UserId::parse(&claims.sub) {
        let user = request.app.users.read(id).await?.filter(|user| !user.disabled);
        user.map(|user| user.scopes.clone())
    } else {
        let client = match claims.sub.parse::<ClientId>() {
            Ok(id) => request.app.clients.cached(&id).await?,
            Err(_) => None,
        };
        client.filter(|found| !found.client.disabled).map(|found| found.client.scopes.clone())
    };
    Ok(claims.scope.intersection(&own.ok_or_else(|| refused("subject is disabled or was deleted"))?))
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

/// Records the exchange before the response: a token that is not in the audit log is not issued.
async fn record(
    request: &TokenRequest<'_>,
    claims: &Claims,
    key: Option<(&OwnedKey, DateTime<Utc>)>,
) -> Result<(), OAuthError> {
    let TokenRequest { app, origin, now, .. } = request;
    let method = key.map(|(key, _)| Method::ApiKey(key.key.id));
    let origin = Origin { actor: Some(claims.sub.clone()), method, ..origin.clone() };
    let details = serde_json::json!({"grant": GrantType::TokenExchange.as_str(), "session": claims.sid});
    let event = || Event::success(Kind::Login).subject(&claims.sub).details(details.clone());
    let Some((key, expires_at)) = key else {
        return Ok(audit::record(&mut app.store.write().await?, event(), &origin, *now).await?);
    };
    let exchanged = app.store.transact(async |tx| {
        // Locks the owner, then the key (lock order). If the owner is disabled or the key deleted before this, no token is
        // issued; if after this, that revokes the token, whose time and expiry are in the row of the key.
        let owner: User = users::lock(tx, key.owner.id).await?;
        let exchanged = !owner.disabled && api_keys::note_exchange(tx, key.key.id, *now, expires_at).await?;
        if exchanged {
            audit::record(tx, event(), &origin, *now).await?;
        }
        Ok::<_, Error>(exchanged)
    });
    match exchanged.await {
        Ok(true) => Ok(()),
        Ok(false) | Err(Error::NotFound { .. }) => Err(refused("key was deleted, or its owner disabled")),
        Err(error) => Err(error.into()),
    }
}
