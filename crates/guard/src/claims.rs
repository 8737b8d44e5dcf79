//! What an access token says (RFC 9068 §2.2).

use serde::{Deserialize, Serialize};

use crate::Scopes;

/// The claims of an access token. Times are whole seconds since 1970 (`NumericDate`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer's URL.
    pub iss: String,
    /// The subject: a user's id (a UUID), or the client's id where the client acts for itself.
    pub sub: String,
    /// Who the token is for: one string, or an array of several.
    pub aud: Audience,
    /// When it ends.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// When it begins, where the issuer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    pub jti: String,
    /// The client that it was issued to.
    pub client_id: String,
    /// What it is good for.
    #[serde(default)]
    pub scope: Scopes,
    /// The session that it belongs to (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The user's name (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's roles (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// When the user gave the password (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
}

/// The `aud` claim: a string when one, an array when more (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Of a list: the form for its length.
    #[must_use]
    pub fn of(mut audiences: Vec<String>) -> Self {
        if audiences.len() == 1 { Self::One(audiences.remove(0)) } else { Self::Many(audiences) }
    }

    /// As a list.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(audience) => std::slice::from_ref(audience),
            Self::Many(audiences) => audiences,
        }
    }
}
