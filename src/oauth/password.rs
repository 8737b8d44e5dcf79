//! The grant `password` (RFC 6749 §4.3): a user's name and password for a token.

use super::{
    OAuthError,
    issue::{self, AccessRequest},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{self, Event, Kind, Origin},
    clients::GrantType,
    error::{Code, Error},
    passwords::Verdict,
    secret::Password,
    sessions::{self, NewSession, Session},
    users::{self, Login},
};

/// Gives a token, or says why not. Nothing has changed then but for an event in the audit log.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    let TokenRequest { app, client, form, .. } = request;
    if !app.config.tokens.password_grant || !client.grant_types.contains(&GrantType::Password) {
        return Err(OAuthError::unauthorized_client(&client.client_id, GrantType::Password));
    }
    let username = form.required("username")?;
    let password = Password::presented("password", form.required("password")?).map_err(|error| {
        OAuthError::invalid_request(match error.code {
            Code::Length => "the password is longer than 1,024 bytes",
            _ => "the password must not contain U+0000",
        })
    })?;
    let access = AccessRequest::read(request)?;
    let audience = access.audience(request, None)?;
    // Twice: the password's hash may have been renewed by another login while this one was under way.
    let mut last = None;
    for _ in 0..2 {
        let (login, verdict) = check(request, username, &password).await?;
        last = Some(login.user.id);
        let scope = match access.granted(request, None, &login.user) {
            Ok(scope) => scope,
            // The password was right: that is noted, whatever the answer.
            Err(refusal) => {
                fail(request, Event::failure(Kind::LoginFailed).subject(&login.user.id), "invalid_scope").await?;
                return Err(refusal);
            }
        };
        if let Some(session) = begin(request, &access, &login).await? {
            if verdict == Verdict::RightButOutdated
                && let Err(error) = rehash(request, &login, &password).await
            {
                let request_id = request.origin.request_id.as_deref();
                tracing::warn!(%error, request_id, "an outdated password hash was not replaced");
            }
            return issue::answer(request, &login.user, &session, scope, audience);
        }
    }
    let event = Event::failure(Kind::LoginFailed);
    let event = match last {
        Some(user) => event.subject(&user),
        None => event,
    };
    fail(request, event, "changed_meanwhile").await?;
    Err(OAuthError::wrong_password("user changed during the login"))
}

/// The user whose name and password these are. An unknown user costs what a wrong password does: the same statements, and
/// a hash.
async fn check(
    request: &TokenRequest<'_>,
    username: &str,
    password: &Password,
) -> Result<(Login, Verdict), OAuthError> {
    let login = users::find_login(&mut request.app.store.read().await?, username).await?;
    let hash = login.as_ref().map(|login| (login.user.id, login.password_hash.as_str()));
    let verdict = request.app.passwords.verify(password, hash).await?;
    let event = Event::failure(Kind::LoginFailed);
    match login {
        Some(login) if verdict != Verdict::Wrong => {
            if login.user.disabled {
                fail(request, event.subject(&login.user.id), "account_disabled").await?;
                return Err(OAuthError::account_disabled());
            }
            Ok((login, verdict))
        }
        Some(login) => {
            fail(request, event.subject(&login.user.id), "wrong_password").await?;
            Err(OAuthError::wrong_password("wrong password"))
        }
        // The name is not recorded: people type passwords into the wrong field.
        None => {
            fail(request, event, "unknown_user").await?;
            Err(OAuthError::wrong_password("unknown user"))
        }
    }
}

async fn fail(request: &TokenRequest<'_>, event: Event, reason: &str) -> Result<(), OAuthError> {
    let event = event.details(serde_json::json!({"reason": reason}));
    let mut conn = request.app.store.write().await?;
    Ok(audit::record(&mut conn, event, &request.origin, request.now).await?)
}

/// Replaces a hash that was made with other parameters, unless it was replaced meanwhile.
async fn rehash(request: &TokenRequest<'_>, login: &Login, password: &Password) -> Result<(), Error> {
    let hash = request.app.passwords.hash(password).await?;
    let mut conn = request.app.store.write().await?;
    users::replace_hash(&mut conn, login.user.id, &login.password_hash, &hash).await?;
    Ok(())
}

/// Begins a session; none where the user was disabled or got another hash since the password was checked, or user or client were
/// deleted.
async fn begin(
    request: &TokenRequest<'_>,
    access: &AccessRequest,
    login: &Login,
) -> Result<Option<Session>, OAuthError> {
    let TokenRequest { app, client, now, .. } = request;
    let new = NewSession {
        user_id: login.user.id,
        client_id: &client.client_id,
        scope: access.scope.as_ref(),
        resource: access.resource.as_deref(),
        address: request.origin.address.as_deref(),
        user_agent: request.user_agent,
        session_ttl: app.config.tokens.session_ttl,
        refresh_token_ttl: app.config.tokens.refresh_token_ttl,
        access_expires_at: issue::expires_at(request),
    };
    let origin = Origin { actor: Some(login.user.id.to_string()), ..request.origin.clone() };
    let begun = app.store.transact(async |tx| {
        if !users::note_login(tx, login, *now).await? {
            return Ok(None);
        }
        let session = sessions::begin(tx, &new, *now).await?;
        let details = serde_json::json!({"session": session.id});
        audit::record(tx, Event::success(Kind::Login).subject(&login.user.id).details(details), &origin, *now).await?;
        Ok(Some(session))
    });
    match begun.await {
        Err(Error::Store(error)) if error.is_orphan() => Ok(None),
        begun => Ok(begun?),
    }
}
