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

pub(crate) use self::{client_auth::confidential_client, error::OAuthError};
