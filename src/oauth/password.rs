//! The grant `password` (RFC 6749 §4.3): a user's name and password for a token.

use grantd_guard::{Audience, Claims, Scopes};
use secrecy::ExposeSecret as _;

use super::{
    OAuthError,
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{self, Event, Origin},
    clients::GrantType,
    error::Code,
    ids::TokenId,
    passwords::{Password, Verdict},
    sessions::{self, NewSession, Session},
    users::{self, Login, User},
};

/// What was asked for, as far as the client may ask for it.
struct Asked {
    /// None: nothing, which means all.
    scope: Option<Scopes>,
    /// None: nothing, which means all of the client's.
    resource: Option<Vec<String>>,
}

/// Gives a token, or says why not. Nothing has changed then but for an event in the audit log.
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    let TokenRequest { app, client, form, .. } = request;
    if !app.config.tokens.password_grant || !client.grant_types.contains(&GrantType::Password) {
        return Err(OAuthError::unauthorized_client());
    }
    let username = form.required("username")?;
    let password = Password::presented("password", form.required("password")?).map_err(|error| {
        OAuthError::invalid_request(match error.code {
            Code::Length => "the password is too long: 1,024 bytes are allowed",
            _ => "the password is not allowed",
        })
    })?;
    let asked = asked(request)?;
    // Twice: the password's hash may have been renewed by another login while this one was under way.
    for _ in 0..2 {
        let (login, verdict) = check(request, username, &password).await?;
        let scope = granted(request, &asked, &login.user)?;
        if let Some(session) = begin(request, &asked, &login).await? {
            if verdict == Verdict::RightButOutdated
                && let Err(error) = users::rehash(app, &login, &password).await
            {
                tracing::warn!(%error, "an outdated password hash was not replaced");
            }
            return answer(request, &asked, &login.user, &session, scope);
        }
    }
    fail(request, Event::failure("login.failed"), "changed_meanwhile").await?;
    Err(OAuthError::wrong_password())
}

fn asked(request: &TokenRequest<'_>) -> Result<Asked, OAuthError> {
    let scope = match request.form.optional("scope")? {
        Some(text) => Some(text.parse::<Scopes>().map_err(|_| OAuthError::invalid_scope("the scope is malformed"))?),
        None => None,
    };
    if scope.as_ref().is_some_and(|asked| !request.client.scopes.contains_all(asked)) {
        return Err(OAuthError::invalid_scope("a scope does not exist, or this client may not ask for it"));
    }
    let mut resource: Vec<String> = Vec::new();
    for asked in request.form.all("resource").filter(|text| !text.is_empty()) {
        if !resource.iter().any(|known| known == asked) {
            resource.push(asked.to_owned());
        }
    }
    let audiences = audiences(request);
    if resource.iter().any(|resource| !audiences.contains(resource)) {
        return Err(OAuthError::invalid_target());
    }
    Ok(Asked { scope, resource: (!resource.is_empty()).then_some(resource) })
}

/// Whom tokens of the client may be for.
fn audiences(request: &TokenRequest<'_>) -> Vec<String> {
    let own = &request.client.audiences;
    if own.is_empty() { vec![request.app.audience.clone()] } else { own.clone() }
}

/// The user whose name and password these are. An unknown user costs what a wrong password does: the same statements, and
/// a hash.
async fn check(
    request: &TokenRequest<'_>,
    username: &str,
    password: &Password,
) -> Result<(Login, Verdict), OAuthError> {
    let login = users::find_login(request.app, username).await?;
    let hash = login.as_ref().map(|login| login.password_hash.as_str());
    let verdict = request.app.passwords.verify(password, hash).await?;
    let event = Event::failure("login.failed");
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
            Err(OAuthError::wrong_password())
        }
        // The name is not kept: people type passwords into the wrong field.
        None => {
            fail(request, event, "unknown_user").await?;
            Err(OAuthError::wrong_password())
        }
    }
}

async fn fail(request: &TokenRequest<'_>, event: Event, reason: &str) -> Result<(), OAuthError> {
    let event = event.details(serde_json::json!({"reason": reason}));
    let mut conn = request.app.store.write().await?;
    Ok(audit::record(&mut conn, event, &request.origin, request.now).await?)
}

/// What the token will be good for: what was asked for, as far as the user has it.
fn granted(request: &TokenRequest<'_>, asked: &Asked, user: &User) -> Result<Scopes, OAuthError> {
    let scope = user.scopes.intersection(asked.scope.as_ref().unwrap_or(&request.client.scopes));
    if scope.is_empty() { Err(OAuthError::invalid_scope("the user has none of these scopes")) } else { Ok(scope) }
}

/// Begins a session; none where the user was disabled or got another hash since the password was checked.
async fn begin(request: &TokenRequest<'_>, asked: &Asked, login: &Login) -> Result<Option<Session>, OAuthError> {
    let TokenRequest { app, client, now, .. } = request;
    let resource = asked.resource.as_ref().map(|resources| resources.join(" "));
    let new = NewSession {
        user_id: login.user.id,
        client_id: &client.client_id,
        scope: asked.scope.as_ref(),
        resource: resource.as_deref(),
        address: request.origin.address.as_deref(),
        user_agent: request.user_agent.as_deref(),
    };
    let origin = Origin { actor: Some(login.user.id.to_string()), ..request.origin.clone() };
    let begun = app.store.transact(async |conn| {
        if !users::logged_in(conn, login, *now).await? {
            return Ok(None);
        }
        let session = sessions::begin(conn, &app.config.tokens, &new, *now).await?;
        let details = serde_json::json!({"session": session.id});
        audit::record(conn, Event::success("login").subject(&login.user.id).details(details), &origin, *now).await?;
        Ok(Some(session))
    });
    Ok(begun.await?)
}

fn answer(
    request: &TokenRequest<'_>,
    asked: &Asked,
    user: &User,
    session: &Session,
    scope: Scopes,
) -> Result<TokenAnswer, OAuthError> {
    let TokenRequest { app, client, now, .. } = request;
    let lifetime = client.access_token_ttl.unwrap_or(app.config.tokens.access_token_ttl).as_secs();
    let iat = now.timestamp();
    let claims = Claims {
        iss: app.issuer.clone(),
        sub: user.id.to_string(),
        aud: Audience::of(asked.resource.clone().unwrap_or_else(|| audiences(request))),
        exp: iat.saturating_add_unsigned(lifetime),
        iat,
        nbf: None,
        jti: TokenId::new(*now).to_string(),
        client_id: client.client_id.to_string(),
        scope: scope.clone(),
        sid: Some(session.id.to_string()),
        username: Some(user.username.to_string()),
        roles: Some(user.roles.iter().map(ToString::to_string).collect()),
        auth_time: Some(session.created_at.timestamp()),
    };
    let refreshes = client.grant_types.contains(&GrantType::RefreshToken);
    let refresh_token = refreshes.then(|| app.refresh_tokens.make(&session.id, session.counter, &session.secret));
    Ok(TokenAnswer {
        access_token: app.keys.sign(&claims)?,
        token_type: "Bearer",
        expires_in: lifetime,
        scope,
        refresh_token: refresh_token.map(|token| token.expose_secret().to_owned()),
    })
}
