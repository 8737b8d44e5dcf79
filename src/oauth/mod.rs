//! The OAuth endpoints: token (RFC 6749), revocation (RFC 7009), introspection (RFC 7662) and metadata (RFC 8414).

mod client_assertion;
mod client_auth;
mod client_credentials;
mod error;
mod exchange;
pub(crate) mod form;
pub(crate) mod introspect;
mod issue;
pub(crate) mod metadata;
mod password;
mod refresh;
pub(crate) mod revoke;
pub(crate) mod token;
pub(crate) mod verify;

use std::sync::Arc;

use actix_web::{
    HttpResponseBuilder,
    http::{StatusCode, header::PRAGMA},
};
use grantd_guard::{Claims, Refusal, TokenError};

pub(crate) use self::{client_auth::confidential_client, error::OAuthError};
use crate::http::no_store;

/// Starts a response with `Cache-Control: no-store` and `Pragma: no-cache` (RFC 6749 §5.1).
fn uncached(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = no_store(status);
    answer.insert_header((PRAGMA, "no-cache"));
    answer
}

/// Returns the claims of a valid token. `None` for an invalid, expired or revoked one.
fn if_good(verdict: Result<Arc<Claims>, TokenError>) -> Result<Option<Arc<Claims>>, OAuthError> {
    match verdict {
        Ok(claims) => Ok(Some(claims)),
        Err(error @ TokenError::RevocationsUnknown) => Err(Refusal::from(error).into()),
        Err(_) => Ok(None),
    }
}
