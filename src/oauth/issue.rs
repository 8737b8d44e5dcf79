//! Shared steps of the grants: the requested scope and audience, the granted part of them, and the token response.

use chrono::{DateTime, Utc};
use grantd_guard::{Claims, Scopes};
use secrecy::ExposeSecret as _;

use super::{
    OAuthError, exchange,
    form::Form,
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    app::App,
    clients::{Client, GrantType},
    ids::TokenId,
    names::Audience,
    sessions::Session,
    users::User,
};

/// The largest number of different resources (RFC 8707) that a request may name.
const MAX_RESOURCES: usize = 10;

/// The access that a request asks for: the parameters `scope` and `resource`.
pub(super) struct AccessRequest {
    /// `None`: not requested, which means all.
    pub(super) scope: Option<Scopes>,
    /// `None`: not requested, which means all.
    pub(super) resource: Option<Vec<Audience>>,
}

impl AccessRequest {
    /// Reads the parameters of a request, and checks that the client may request the scope.
    pub(super) fn read(request: &TokenRequest<'_>) -> Result<Self, OAuthError> {
        let malformed = |_| OAuthError::invalid_scope("scope must be a space-delimited list of scope names");
        let scope: Option<Scopes> = request.form.optional("scope")?.map(str::parse).transpose().map_err(malformed)?;
        let unknown = scope.as_ref().map(|scope| scope.difference(&request.client.scopes)).unwrap_or_default();
        if !unknown.is_empty() {
            return Err(OAuthError::invalid_scopes(&unknown, "does not exist or is not available to this client"));
        }
        // In an exchange, `audience` means the same as `resource`; elsewhere it is an unknown parameter.
        let is_exchange = request.form.optional("grant_type")? == Some(GrantType::TokenExchange.as_str());
        let names = if is_exchange { &["resource", "audience"][..] } else { &["resource"] };
        Ok(Self { scope, resource: resources(request.form, names)? })
    }

    /// Returns the scope of the token: the requested scope, which must be within that of the session, as far as client
    /// and user have it.
    pub(super) fn granted(
        &self,
        request: &TokenRequest<'_>,
        session: Option<&Session>,
        user: &User,
    ) -> Result<Scopes, OAuthError> {
        let of_session = session.and_then(|session| session.scope.as_ref()).unwrap_or(&request.client.scopes);
        let requested = self.scope.as_ref().unwrap_or(of_session);
        let new = requested.difference(of_session);
        if !new.is_empty() {
            return Err(OAuthError::invalid_scopes(&new, "was not requested at login; log in again to get it"));
        }
        // Intersected at each refresh: a scope that was removed from the client or user must not be issued again.
        let scope = requested.intersection(&request.client.scopes).intersection(&user.scopes);
        if scope.is_empty() {
            return Err(OAuthError::invalid_scope("the user has none of the requested scopes"));
        }
        Ok(scope)
    }

    /// Returns the audience of the token: the requested audience, which must be within that of session and client.
    pub(super) fn audience(
        &self,
        request: &TokenRequest<'_>,
        session: Option<&Session>,
    ) -> Result<Vec<Audience>, OAuthError> {
        let all = audience_of(request.app, &request.client, session);
        let requested = self.resource.clone().unwrap_or_else(|| all.clone());
        if requested.is_empty() || requested.iter().any(|audience| !all.contains(audience)) {
            return Err(OAuthError::invalid_target());
        }
        Ok(requested)
    }
}

/// Returns the parameters `resource` (RFC 8707) without repetitions. A malformed resource is an invalid target.
fn resources(form: &Form, names: &[&'static str]) -> Result<Option<Vec<Audience>>, OAuthError> {
    let mut resources: Vec<Audience> = Vec::new();
    for text in names.iter().flat_map(|name| form.all(name)).filter(|text| !text.is_empty()) {
        if resources.iter().any(|known| known.as_str() == text) {
            continue;
        }
        if resources.len() == MAX_RESOURCES {
            return Err(OAuthError::invalid_target());
        }
        resources.push(text.parse().map_err(|_| OAuthError::invalid_target())?);
    }
    Ok((!resources.is_empty()).then_some(resources))
}

/// Returns the allowed audiences of a session's tokens: those requested at login, as far as the client still has them.
pub(super) fn audience_of(app: &App, client: &Client, session: Option<&Session>) -> Vec<Audience> {
    let own = &client.audiences;
    let mut all = if own.is_empty() { vec![app.audience.clone()] } else { own.clone() };
    if let Some(of_session) = session.and_then(|session| session.resource.as_ref()) {
        all.retain(|audience| of_session.contains(audience));
    }
    all
}

/// Returns the token response for a user: an access token, and the current refresh token if the client may use it.
pub(super) fn answer(
    request: &TokenRequest<'_>,
    user: &User,
    session: &Session,
    scope: Scopes,
    audience: Vec<Audience>,
) -> Result<TokenAnswer, OAuthError> {
    let TokenRequest { app, client, .. } = request;
    let claims = Claims {
        sub: user.id.to_string(),
        sid: Some(session.id.to_string()),
        username: Some(user.username.to_string()),
        roles: Some(role_names(user)),
        auth_time: Some(session.created_at.timestamp()),
        ..claims(request, scope, audience)
    };
    // Computed from the session, not stored: a retry gets the same refresh token.
    let refreshes = client.grant_types.contains(&GrantType::RefreshToken);
    let refresh_token = refreshes.then(|| app.refresh_tokens.make(&session.id, session.counter, &session.secret));
    signed(request, claims, refresh_token.map(|token| token.expose_secret().to_owned()))
}

/// Returns the token response for a client that acts for itself.
pub(super) fn answer_for_client(
    request: &TokenRequest<'_>,
    scope: Scopes,
    audience: Vec<Audience>,
) -> Result<TokenAnswer, OAuthError> {
    signed(request, claims(request, scope, audience), None)
}

/// Returns the claim `roles`.
pub(super) fn role_names(user: &User) -> Vec<String> {
    user.roles.iter().map(ToString::to_string).collect()
}

/// Returns when an access token that this request issues expires.
pub(super) fn expires_at(request: &TokenRequest<'_>) -> DateTime<Utc> {
    let TokenRequest { app, client, now, .. } = request;
    *now + client.access_token_ttl.unwrap_or(app.config.tokens.access_token_ttl)
}

/// Returns the claims of every access token (RFC 9068 §2.2), of the client itself.
pub(super) fn claims(request: &TokenRequest<'_>, scope: Scopes, audience: Vec<Audience>) -> Claims {
    let TokenRequest { app, client, now, .. } = request;
    let iat = now.timestamp();
    Claims {
        iss: app.issuer.clone(),
        sub: client.client_id.to_string(),
        aud: grantd_guard::Audience::of(audience.into_iter().map(String::from).collect()),
        exp: expires_at(request).timestamp(),
        iat,
        nbf: None,
        jti: TokenId::new(*now).to_string(),
        client_id: client.client_id.to_string(),
        scope,
        sid: None,
        username: None,
        roles: None,
        auth_time: None,
        session_client_id: None,
        act: None,
    }
}

/// Returns the token response with these claims.
pub(super) fn signed(
    request: &TokenRequest<'_>,
    claims: Claims,
    refresh_token: Option<String>,
) -> Result<TokenAnswer, OAuthError> {
    Ok(TokenAnswer {
        issued_token_type: claims.act.is_some().then_some(exchange::ACCESS_TOKEN),
        access_token: request.app.keys.sign(&claims)?,
        token_type: "Bearer",
        expires_in: claims.exp.abs_diff(claims.iat),
        scope: claims.scope,
        refresh_token,
        device_token: None,
    })
}
