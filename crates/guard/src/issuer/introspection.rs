//! What the issuer says about an API key (RFC 7662 §2.2).

use std::sync::Arc;

use serde::Deserialize;

use crate::{ApiKeyError, Audience, Claims, Guard, Scopes};

/// The response to an introspection request. Members other than `active` are absent for an inactive key.
#[derive(Deserialize)]
pub(super) struct Introspection {
    active: bool,
    token_type: Option<String>,
    iss: Option<String>,
    sub: Option<String>,
    username: Option<String>,
    aud: Option<Audience>,
    jti: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
    #[serde(default)]
    scope: Scopes,
}

impl Introspection {
    /// Checks that it describes an active API key of the guard's issuer, for one of its audiences. The expiry is checked
    /// at each use.
    pub(super) fn verdict(self, guard: &Guard) -> Result<Arc<Claims>, ApiKeyError> {
        if !self.active {
            return Err(ApiKeyError::Refused);
        }
        let claims = self.claims(guard).ok_or(ApiKeyError::Refused)?;
        let is_meant = claims.aud.as_slice().iter().any(|audience| guard.audiences().contains(audience));
        if is_meant { Ok(Arc::new(claims)) } else { Err(ApiKeyError::WrongAudience) }
    }

    /// Returns the claims. `None`: they are not those of an API key of this issuer.
    fn claims(self, guard: &Guard) -> Option<Claims> {
        if self.token_type.as_deref() != Some("api_key") || self.iss.as_deref() != Some(guard.issuer()) {
            tracing::warn!(issuer = guard.issuer(), "the introspection of an API key describes something else");
            return None;
        }
        let jti = self.jti.filter(|jti| !jti.is_empty())?;
        Some(Claims {
            iss: guard.issuer().to_owned(),
            sub: self.sub.filter(|sub| !sub.is_empty())?,
            aud: self.aud?,
            exp: self.exp.unwrap_or(Claims::NO_EXPIRY),
            iat: self.iat?,
            nbf: None,
            // An API key belongs to no client; `Claims::is_api_key` tells it by this.
            client_id: jti.clone(),
            jti,
            scope: self.scope,
            sid: None,
            username: self.username,
            roles: None,
            auth_time: None,
            session_client_id: None,
            act: None,
        })
    }
}
