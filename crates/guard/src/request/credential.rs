//! The credential of a request: its bearer token (RFC 6750 §2).

use crate::{CredentialsError, Refusal};

/// Returns the credential of a request, for all extractors and middleware. `header` returns the values of a header,
/// whose name is in lower case, and `query` is the raw query string.
pub(crate) fn credential<'r, V>(header: impl Fn(&'static str) -> V, query: &str) -> Result<&'r str, Refusal>
where
    V: Iterator<Item = &'r [u8]>,
{
    bearer_token(header("authorization"), query)?.ok_or(Refusal::NoCredentials)
}

/// Returns the bearer token, given the values of `Authorization` and the raw query string.
///
/// `Ok(None)`: no token, or credentials of another scheme. A token in the query is not accepted (RFC 9700 §4.3.2).
/// Together with a token in the header it is an error, as are two `Authorization` headers (RFC 6750 §3.1).
pub(crate) fn bearer_token<'r>(
    mut authorization: impl Iterator<Item = &'r [u8]>,
    query: &str,
) -> Result<Option<&'r str>, CredentialsError> {
    let Some(value) = authorization.next() else { return Ok(None) };
    if authorization.next().is_some() {
        return Err(CredentialsError::TwoPlaces);
    }
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
