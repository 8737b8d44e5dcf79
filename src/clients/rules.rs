//! Validation rules for clients that involve several fields.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{ClientKind, GrantType};
use crate::error::{Code, Error, FieldError};

/// The longest grace period of a client's previous secret.
pub(super) const MAX_OVERLAP: Duration = Duration::from_hours(365 * 24);
/// The allowed lifetimes of access tokens. A retired key is published for the longest of them.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(365 * 24);

/// Checks all rules, and reports all violations.
pub(super) fn check(
    kind: ClientKind,
    grant_types: &BTreeSet<GrantType>,
    access_token_ttl: Option<Duration>,
    has_jwks: bool,
    forwards_address: bool,
) -> Result<(), Error> {
    let checks = [
        check_grant_types(kind, grant_types),
        check_has_jwks(kind, has_jwks),
        check_forwards_address(kind, forwards_address),
        access_token_ttl.map_or(Ok(()), check_lifetime),
    ];
    let errors: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

pub(super) fn check_grant_types(kind: ClientKind, grant_types: &BTreeSet<GrantType>) -> Result<(), FieldError> {
    if grant_types.is_empty() {
        return Err(FieldError::new("grant_types", Code::Required, "must have at least one grant type"));
    }
    if kind == ClientKind::Public && grant_types.contains(&GrantType::ClientCredentials) {
        let message = "a public client cannot use client_credentials; create a confidential client";
        return Err(FieldError::new("grant_types", Code::Format, message));
    }
    Ok(())
}

pub(super) fn check_has_jwks(kind: ClientKind, has_jwks: bool) -> Result<(), FieldError> {
    if kind == ClientKind::Public && has_jwks {
        return Err(FieldError::new(
            "jwks",
            Code::Format,
            "a public client cannot have keys; create a confidential client",
        ));
    }
    Ok(())
}

/// A public client proves nothing: anybody could report any address in its name.
pub(super) fn check_forwards_address(kind: ClientKind, forwards_address: bool) -> Result<(), FieldError> {
    if kind == ClientKind::Public && forwards_address {
        let message = "a public client cannot report the address of its user; create a confidential client";
        return Err(FieldError::new("forwards_address", Code::Format, message));
    }
    Ok(())
}

pub(super) fn check_lifetime(ttl: Duration) -> Result<(), FieldError> {
    if LIFETIMES.contains(&ttl) {
        return Ok(());
    }
    Err(FieldError::new("access_token_ttl", Code::Length, "must be from 1 second to 1 year"))
}
