//! The credential of a request: its bearer token (RFC 6750 §2) or API key.

use crate::{ApiKeyError, CredentialsError, Guard, Refusal, api_key::is_api_key};

/// Returns the credential of a request, for all extractors and middleware: an access token, or an API key, which begins
/// with `grk_`. `header` returns the values of a header, whose name is in lower case, and `query` is the raw query string.
///
/// Two credentials are an error, as in RFC 6750 §3.1 for tokens.
pub(crate) fn credential<'r, V>(
    guard: &Guard,
    header: impl Fn(&'static str) -> V,
    query: &str,
) -> Result<&'r str, Refusal>
where
    V: Iterator<Item = &'r [u8]>,
{
    let token = bearer_token(header("authorization"), query)?;
    // Without API keys of grantd, the header may be meant for somebody else, such as a gateway in front of the service.
    let is_ours = |key: &&[u8]| guard.accepts_api_keys() || key.starts_with(b"grk_");
    let mut keys = header("x-api-key").filter(is_ours);
    let Some(key) = keys.next() else { return token.ok_or(Refusal::NoCredentials) };
    if token.is_some() || keys.next().is_some() || header("authorization").any(|value| has_scheme(value, b"basic")) {
        return Err(CredentialsError::TwoPlaces.into());
    }
    let key = std::str::from_utf8(key).map_err(|_| CredentialsError::Malformed)?.trim();
    // Not passed on: a token is not accepted in this header.
    if is_api_key(key) { Ok(key) } else { Err(ApiKeyError::Malformed.into()) }
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
    if !has_scheme(value, b"bearer") {
        return Ok(None);
    }
    if query.split('&').any(|pair| pair.split('=').next() == Some("access_token")) {
        return Err(CredentialsError::TwoPlaces);
    }
    let (_, rest) = split(value);
    let token = std::str::from_utf8(rest).map_err(|_| CredentialsError::Malformed)?.trim_matches(' ');
    if is_b64token(token) { Ok(Some(token)) } else { Err(CredentialsError::Malformed) }
}

/// Splits the value of an `Authorization` header into the scheme and the rest.
fn split(authorization: &[u8]) -> (&[u8], &[u8]) {
    let end = authorization.iter().position(|byte| *byte == b' ').unwrap_or(authorization.len());
    authorization.split_at(end)
}

fn has_scheme(authorization: &[u8], scheme: &[u8]) -> bool {
    split(authorization).0.eq_ignore_ascii_case(scheme)
}

/// Returns whether a token has the syntax of RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" )
/// *"="`.
fn is_b64token(token: &str) -> bool {
    let token = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !token.is_empty() && token.bytes().all(allowed)
}
