//! The OAuth endpoints (RFC 6749, RFC 8414): how a token is asked for, and what this server says of itself.

mod client_auth;
mod error;
mod form;
pub(crate) mod metadata;
mod password;
pub(crate) mod token;

pub(crate) use self::error::OAuthError;
