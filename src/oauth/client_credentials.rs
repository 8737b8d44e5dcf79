//! The grant `client_credentials` (RFC 6749 §4.4): an access token for the client itself.

use super::{
    OAuthError,
    issue::{self, AccessRequest},
    token::{TokenAnswer, TokenRequest},
};
use crate::{
    audit::{self, Event, Kind, Origin},
    clients::{ClientKind, GrantType},
};

/// Issues an access token, without a session or refresh token (RFC 6749 §4.4.3).
pub(super) async fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    let client = &request.client;
    if client.kind == ClientKind::Public || !client.grant_types.contains(&GrantType::ClientCredentials) {
        return Err(OAuthError::unauthorized_client(&client.client_id, GrantType::ClientCredentials));
    }
    let access = AccessRequest::read(request)?;
    let scope = access.scope.clone().unwrap_or_else(|| client.scopes.clone());
    if scope.is_empty() {
        return Err(OAuthError::invalid_scope("this client has no scopes; grant it at least one"));
    }
    let audience = access.audience(request, None)?;
    let answer = issue::answer_for_client(request, scope, audience)?;
    let origin = Origin { actor: Some(client.client_id.to_string()), ..request.origin.clone() };
    let details = serde_json::json!({"grant": GrantType::ClientCredentials.as_str()});
    let event = Event::success(Kind::Login).subject(&client.client_id).details(details);
    // Recorded before the response: a token that is not in the audit log is not issued.
    audit::record(&mut request.app.store.write().await?, event, &origin, request.now).await?;
    Ok(answer)
}
