//! The claims of an access token (RFC 9068 §2.2).

use serde::{Deserialize, Serialize};

use crate::Scopes;

/// The claims of an access token. Times are whole seconds since 1970 (`NumericDate`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer's URL.
    pub iss: String,
    /// The subject: the id of a user (a UUID), or of the client if it acts for itself.
    pub sub: String,
    /// The audience: a string, or an array of several.
    pub aud: Audience,
    /// The expiry.
    pub exp: i64,
    /// The time of issue.
    pub iat: i64,
    /// The time before which the token is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The id of the token.
    pub jti: String,
    /// The client that the token was issued to.
    pub client_id: String,
    /// The scope of the token.
    #[serde(default)]
    pub scope: Scopes,
    /// The login session (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The user name (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's roles (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The time of the login (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
}

/// The `aud` claim: a string, or an array of several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// A single audience.
    One(String),
    /// Several audiences.
    Many(Vec<String>),
}

impl Audience {
    /// Returns the claim for a list of audiences.
    #[must_use]
    pub fn of(mut audiences: Vec<String>) -> Self {
        if audiences.len() == 1 { Self::One(audiences.remove(0)) } else { Self::Many(audiences) }
    }

    /// Returns the audiences as a list.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(audience) => std::slice::from_ref(audience),
            Self::Many(audiences) => audiences,
        }
    }
}
