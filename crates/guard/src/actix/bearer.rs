//! The bearer token of a request (RFC 6750 §2).

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::CredentialsError;

/// Returns the bearer token of a request, from the `Authorization` header only. `query` is the raw query string.
///
/// `Ok(None)`: no token, or credentials of another scheme. A token in the query is not accepted (RFC 9700 §4.3.2).
/// Together with a token in the header it is an error, as are two `Authorization` headers (RFC 6750 §3.1).
pub fn bearer_token<'r>(headers: &'r HeaderMap, query: &str) -> Result<Option<&'r str>, CredentialsError> {
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(CredentialsError::TwoPlaces);
    }
    let value = value.as_bytes();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    if query.split('&').any(|pair| pair.split('=').next() == Some("access_token")) {
        return Err(CredentialsError::TwoPlaces);
    }
    let token = std::str::from_utf8(rest).map_err(|_| CredentialsError::Malformed)?.trim_matches(' ');
    if is_b64token(token) { Ok(Some(token)) } else { Err(CredentialsError::Malformed) }
}

/// Returns whether a token has the syntax of RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" )
/// *"="`.
fn is_b64token(token: &str) -> bool {
    let token = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !token.is_empty() && token.bytes().all(allowed)
}
