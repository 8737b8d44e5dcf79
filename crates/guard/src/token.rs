//! The compact form of a token (RFC 7515 §7.1), taken apart without trust.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::IgnoredAny};

use crate::{Claims, TokenError};

/// The longest token that is looked at. grantd's have less than one KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The claims that RFC 9068 §2.2 requires, and that may not be empty.
const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];

/// A token in its parts. Nothing in it is to be believed before the signature was checked.
pub(crate) struct Parts<'t> {
    pub(crate) header: Header,
    /// What the signature is over: header, dot, payload, as they came.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
    payload: &'t str,
}

/// The header parameters that matter. `jwk`, `jku`, `x5c` and `x5u` do not: a token cannot bring its own key.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Whatever the value is, `null` too: the member is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Header {
    /// What can be said before any key is known: no `crit`, and `typ` says access token (RFC 9068 §4).
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        if self.crit {
            return Err(TokenError::Critical);
        }
        // RFC 7515 §4.1.9: a media type, compared without case, whose `application/` may be left out.
        let typ = self.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        if typ.strip_prefix("application/").unwrap_or(&typ) == "at+jwt" { Ok(()) } else { Err(TokenError::WrongType) }
    }
}

impl<'t> Parts<'t> {
    pub(crate) fn of(token: &'t str) -> Result<Self, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = decode(header).and_then(|json| object(&json)).ok_or(TokenError::Malformed)?;
        let signature = decode(signature).ok_or(TokenError::Malformed)?;
        Ok(Self { header, signed, signature, payload })
    }

    /// The claims, to be read once the signature is known to be right.
    pub(crate) fn claims(&self) -> Result<Claims, TokenError> {
        let json = decode(self.payload).ok_or(TokenError::Malformed)?;
        let claims: Claims = object(&json).ok_or_else(|| what_is_wrong(&json))?;
        let texts = [&claims.iss, &claims.sub, &claims.jti, &claims.client_id];
        if texts.into_iter().any(String::is_empty) { Err(TokenError::MalformedClaims) } else { Ok(claims) }
    }
}

/// Strict base64url: no padding, no stray bits, so that a token has one spelling.
fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

/// An object, and not the array that serde would take for a struct too. serde refuses repeated members.
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Looks again at claims that could not be read, for a name to give.
fn what_is_wrong(json: &[u8]) -> TokenError {
    let Some(claims) = object::<serde_json::Map<String, serde_json::Value>>(json) else {
        return TokenError::MalformedClaims;
    };
    let missing = REQUIRED.into_iter().find(|name| !claims.contains_key(*name));
    missing.map_or(TokenError::MalformedClaims, TokenError::MissingClaim)
}
