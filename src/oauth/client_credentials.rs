//! The grant `client_credentials` (RFC 6749 §4.4): a client's own credentials for a token of its own.

use super::{
    OAuthError,
    issue::{self, Asked},
    token::{TokenAnswer, TokenRequest},
};
use crate::clients::{ClientKind, GrantType};

/// Gives a token, or says why not. There is no session and no refresh token (§4.4.3).
pub(super) fn grant(request: &TokenRequest<'_>) -> Result<TokenAnswer, OAuthError> {
    let client = &request.client;
    if client.kind == ClientKind::Public || !client.grant_types.contains(&GrantType::ClientCredentials) {
        return Err(OAuthError::unauthorized_client());
    }
    let asked = Asked::read(request)?;
    let scope = asked.scope.clone().unwrap_or_else(|| client.scopes.clone());
    if scope.is_empty() {
        return Err(OAuthError::invalid_scope("this client has no scope"));
    }
    let audience = asked.audience(request, None)?;
    issue::answer_for_client(request, scope, audience)
}
