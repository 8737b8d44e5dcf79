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
    login::{self, Verified},
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
    let device_token = form.optional("device_token")?;
    let access = AccessRequest::read(request)?;
    let audience = access.audience(request, None)?;
    // Twice: the password's hash may have been renewed by another login while this one was under way.
    let mut last = None;
    for _ in 0..2 {
        let verified = login::verify(app, username, &password, device_token, &request.origin, request.now).await?;
        let Verified { login, verdict, device } = verified;
        last = Some(login.user.id);
        let scope = match access.granted(request, None, &login.user) {
            Ok(scope) => scope,
            // The password was right: that is noted, whatever the answer.
            Err(refusal) => {
                fail(request, Event::failure(Kind::LoginFailed).subject(&login.user.id), "invalid_scope").await?;
                return Err(refusal);
            }
        };
        // Before the session is committed: nothing may fail after it.
        let device_token = app.throttle.device_token(login.user.id, device, request.now).map_err(Error::from)?;
        if let Some(session) = begin(request, &access, &login).await? {
            login::renew_hash(app, &login, verdict, &password, &request.origin).await;
            let answer = issue::answer(request, &login.user, &session, scope, audience)?;
            return Ok(TokenAnswer { device_token: Some(device_token), ..answer });
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

async fn fail(request: &TokenRequest<'_>, event: Event, reason: &str) -> Result<(), OAuthError> {
    Ok(login::record_failure(request.app, event, reason, &request.origin, request.now).await?)
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
