//! What is true of every client, whoever makes or changes it.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{ClientKind, GrantType};
use crate::error::{Code, Error, FieldError};

/// As long as a secret may live on beside the next one.
pub(super) const LONGEST_OVERLAP: Duration = Duration::from_hours(365 * 24);
/// What an access token's lifetime may be: with more, a key that was retired would have to be published for ever.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(365 * 24);

/// All of it.
pub(super) fn check(
    name: &str,
    kind: ClientKind,
    grant_types: &BTreeSet<GrantType>,
    audiences: &[String],
    access_token_ttl: Option<Duration>,
    has_jwks: bool,
) -> Result<(), Error> {
    let checks = [
        check_name(name),
        check_grant_types(kind, grant_types),
        check_has_jwks(kind, has_jwks),
        access_token_ttl.map_or(Ok(()), check_lifetime),
        check_audiences(audiences),
    ];
    let errors: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

pub(super) fn check_name(name: &str) -> Result<(), FieldError> {
    if name.contains('\0') {
        return Err(FieldError::new("name", Code::Format, "must not have U+0000"));
    }
    if (1..=200).contains(&name.chars().count()) {
        Ok(())
    } else {
        Err(FieldError::new("name", Code::Length, "must have 1 to 200 characters"))
    }
}

pub(super) fn check_grant_types(kind: ClientKind, grant_types: &BTreeSet<GrantType>) -> Result<(), FieldError> {
    if grant_types.is_empty() {
        return Err(FieldError::new("grant_types", Code::Required, "at least one grant is needed"));
    }
    if kind == ClientKind::Public && grant_types.contains(&GrantType::ClientCredentials) {
        let message = "a public client has no credentials of its own";
        return Err(FieldError::new("grant_types", Code::Format, message));
    }
    Ok(())
}

pub(super) fn check_has_jwks(kind: ClientKind, has_jwks: bool) -> Result<(), FieldError> {
    if kind == ClientKind::Public && has_jwks {
        return Err(FieldError::new("jwks", Code::Format, "a public client has no keys of its own"));
    }
    Ok(())
}

pub(super) fn check_lifetime(ttl: Duration) -> Result<(), FieldError> {
    if LIFETIMES.contains(&ttl) {
        return Ok(());
    }
    Err(FieldError::new("access_token_ttl", Code::Length, "must be from 1 second to 1 year"))
}

pub(super) fn check_audiences(audiences: &[String]) -> Result<(), FieldError> {
    audiences.iter().try_for_each(|audience| check_audience(audience))
}

/// A URI or a name: printable ASCII without space, quote and backslash, so that a list of them is space-delimited.
fn check_audience(audience: &str) -> Result<(), FieldError> {
    if audience.is_empty() || audience.len() > 500 {
        return Err(FieldError::new("audiences", Code::Length, "an audience has 1 to 500 characters"));
    }
    if audience.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        Ok(())
    } else {
        Err(FieldError::new("audiences", Code::Format, "an audience is a URI or a name, without spaces"))
    }
}
