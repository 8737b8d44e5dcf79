//! Parser for the compact form of a token (RFC 7515 §7.1).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::IgnoredAny};

use crate::{Claims, TokenError};

/// The maximum length of a token. The tokens of grantd have less than 1 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The required claims (RFC 9068 §2.2).
const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];

/// The parts of a token, which are not trusted before the signature is verified.
pub(crate) struct Parts<'t> {
    pub(crate) header: Header,
    /// The signed text: header, dot and payload, as received.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
    payload: &'t str,
}

/// The used header parameters. `jwk`, `jku`, `x5c` and `x5u` are ignored: a token must not bring its own key.
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

/// Returns `true` for a member that is present, with any value, including `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Header {
    /// Makes the checks that need no key: no `crit`, and `typ` is that of access tokens (RFC 9068 §4).
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        if self.crit {
            return Err(TokenError::Critical);
        }
        // RFC 7515 §4.1.9: a media type, which is case-insensitive and whose `application/` may be omitted.
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

    /// Parses the claims. Call it only after the signature was verified.
    pub(crate) fn claims(&self) -> Result<Claims, TokenError> {
        let json = decode(self.payload).ok_or(TokenError::Malformed)?;
        let claims: Claims = object(&json).ok_or_else(|| what_is_wrong(&json))?;
        let texts = [&claims.iss, &claims.sub, &claims.jti, &claims.client_id];
        if texts.into_iter().any(String::is_empty) { Err(TokenError::MalformedClaims) } else { Ok(claims) }
    }
}

/// Decodes strict base64url, without padding or stray bits, so that a token has only one spelling.
fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

/// Parses a JSON object. Rejects an array, which serde accepts for a struct, and repeated members, which serde rejects
/// itself.
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Finds the error in claims that could not be parsed.
fn what_is_wrong(json: &[u8]) -> TokenError {
    let Some(claims) = object::<serde_json::Map<String, serde_json::Value>>(json) else {
        return TokenError::MalformedClaims;
    };
    let missing = REQUIRED.into_iter().find(|name| !claims.contains_key(*name));
    missing.map_or(TokenError::MalformedClaims, TokenError::MissingClaim)
}
