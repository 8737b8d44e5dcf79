//! The claims of an access token (RFC 9068 §2.2), or of an API key.

use serde::{Deserialize, Serialize};

use crate::Scopes;

/// The claims of an access token, or what the issuer says about an API key. Times are whole seconds since 1970 (`NumericDate`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer's URL.
    pub iss: String,
    /// The subject: the id of a user (a UUID), or of the client if it acts for itself.
    pub sub: String,
    /// The audience: a string, or an array of several.
    pub aud: Audience,
    /// The expiry; for an API key without one [`Claims::NO_EXPIRY`].
    pub exp: i64,
    /// The time of issue.
    pub iat: i64,
    /// The time before which the token is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The id of the token, or of the API key.
    pub jti: String,
    /// The client that the token was issued to. An API key belongs to no client: for a key, this is the id of the key,
    /// which is never that of a client.
    pub client_id: String,
    /// The scope of the token.
    #[serde(default)]
    pub scope: Scopes,
    /// The login session (users only; absent for an API key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The user name (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's roles (users only; absent for an API key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The time of the login (users only; absent for an API key, and from a token that was issued for one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// The client of the session, in a token that another client got by token exchange: the end of that client ends the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_client_id: Option<String>,
    /// The client that got the token by token exchange (RFC 8693 §4.1), and acts for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

impl Claims {
    /// The `exp` of an API key that never expires: the end of the year 9999, which all formats of time can express.
    pub const NO_EXPIRY: i64 = 253_402_300_799;

    /// Returns whether the caller sent an API key. A service may refuse that for what a leaked key must not do.
    #[must_use]
    pub fn is_api_key(&self) -> bool {
        // No token has this: a `jti` is a UUID, and the id of a client never is.
        self.client_id == self.jti
    }
}

/// The `act` claim (RFC 8693 §4.1): the party that acts for the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The id of a client.
    pub sub: String,
    /// The party that acted before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// Returns this actor and those before it, the latest first.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |actor| actor.act.as_deref())
    }
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
