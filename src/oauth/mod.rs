//! The OAuth endpoints (RFC 6749, RFC 8414): how a token is asked for, and what this server says of itself.

mod client_auth;
mod error;
mod form;
mod issue;
pub(crate) mod metadata;
mod password;
mod refresh;
pub(crate) mod token;

pub(crate) use self::error::OAuthError;
