//! The credential that a request carries: an access token, an API key, or a username and password.

use actix_web::{
    HttpRequest,
    http::header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use grantd_guard::{CredentialsError, actix::bearer_token};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::secret;

pub(super) const X_API_KEY: &str = "x-api-key";

/// A credential, not verified yet.
pub(super) enum Credential {
    Token(String),
    ApiKey(SecretString),
    Basic { username: String, password: SecretString },
}

/// Returns the credential of a request, if it has one. Two are an error (RFC 6750 §3.1 for tokens).
///
/// `key_in_query`: whether `?api_key=` counts.
pub(super) fn credential(req: &HttpRequest, key_in_query: bool) -> Result<Option<Credential>, CredentialsError> {
    let (headers, query) = (req.headers(), req.query_string());
    let mut found = Vec::new();
    // Also finds two `Authorization` headers.
    if let Some(token) = bearer_token(headers, query)? {
        found.push(if token.starts_with(secret::API_KEY) {
            Credential::ApiKey(token.into())
        } else {
            Credential::Token(token.to_owned())
        });
    }
    found.extend(basic(headers));
    for value in headers.get_all(X_API_KEY) {
        // No key has other characters than ASCII: such a value is refused as a malformed key.
        found.push(Credential::ApiKey(String::from_utf8_lossy(value.as_bytes()).trim().into()));
    }
    if key_in_query {
        found.extend(keys_in_query(query));
    }
    if found.len() > 1 {
        return Err(CredentialsError::TwoPlaces);
    }
    Ok(found.pop())
}

pub(super) fn keys_in_query(query: &str) -> impl Iterator<Item = Credential> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("api_key="));
    values.map(|key| Credential::ApiKey(percent_decode_str(key).decode_utf8_lossy().into_owned().into()))
}

/// Returns the username and password of an `Authorization: Basic` header, in UTF-8 (RFC 7617 §2.1). Malformed ones are empty,
/// and so wrong.
fn basic(headers: &HeaderMap) -> Option<Credential> {
    let (scheme, encoded) = split(headers.get(AUTHORIZATION)?);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // Without control characters (RFC 7617 §2): Postgres stores no U+0000, and refuses a statement with it.
    let text = decoded.as_deref().filter(|text| !text.contains('\0'));
    // The first colon: a password may have some, and a username has none.
    let pair = text.and_then(|text| text.split_once(':')).unwrap_or_default();
    Some(Credential::Basic { username: pair.0.to_owned(), password: pair.1.into() })
}

/// Returns the scheme of an `Authorization` header, and what follows it.
fn split(value: &HeaderValue) -> (&[u8], &[u8]) {
    let value = value.as_bytes();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    value.split_at(end)
}

pub(super) fn has_scheme(req: &HttpRequest, scheme: &str) -> bool {
    let value = req.headers().get(AUTHORIZATION);
    value.is_some_and(|value| split(value).0.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// Schemes that an error may name. Any other first word may be a token that was sent without a scheme.
const KNOWN_SCHEMES: [&str; 8] = ["Basic", "Bearer", "Digest", "DPoP", "JWT", "Negotiate", "NTLM", "Token"];

/// Returns the scheme of an `Authorization` header, if it is a well-known one.
pub(crate) fn known_scheme(authorization: &HeaderValue) -> Option<&'static str> {
    let (first, _) = split(authorization);
    KNOWN_SCHEMES.into_iter().find(|scheme| first.eq_ignore_ascii_case(scheme.as_bytes()))
}
