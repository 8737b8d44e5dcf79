//! The OAuth endpoints (RFC 6749, RFC 7009, RFC 7662, RFC 8414): how a token is asked for, looked at and ended, and what this
//! server says of itself.

mod client_assertion;
mod client_auth;
mod client_credentials;
mod error;
mod form;
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

/// An answer that nobody may keep (RFC 6749 §5.1).
fn uncached(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = no_store(status);
    answer.insert_header((PRAGMA, "no-cache"));
    answer
}

/// The claims of a token that somebody asks about; none: it is of no use to anybody.
fn if_good(verdict: Result<Arc<Claims>, TokenError>) -> Result<Option<Arc<Claims>>, OAuthError> {
    match verdict {
        Ok(claims) => Ok(Some(claims)),
        Err(error @ TokenError::RevocationsUnknown) => Err(Refusal::from(error).into()),
        Err(_) => Ok(None),
    }
}
