//! The authority of a caller: the scopes that it may grant or change.

use grantd_guard::{Scope, Scopes};

use crate::{audit::Origin, error::Error};

const ACCOUNT: Scope = Scope::from_static("account");

/// The caller of a change, with its scopes.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The origin, for the audit log.
    pub origin: Origin,
    /// The scopes of the caller. `None`: every scope.
    scopes: Option<Scopes>,
}

impl Authority {
    /// Returns the authority of the command line, set-up files and the first start. It has every scope: their callers
    /// have access to the database anyway.
    #[must_use]
    pub fn system() -> Self {
        Self { origin: Origin::system(), scopes: None }
    }

    /// Returns the authority of a caller with these scopes.
    pub(crate) fn of(origin: Origin, scopes: Scopes) -> Self {
        Self { origin, scopes: Some(scopes) }
    }

    /// Checks that the caller has all of the scopes, with `account`.
    pub(crate) fn must_have_each(&self, scopes: &Scopes) -> Result<(), Error> {
        let missing = self.scopes.as_ref().map(|own| scopes.difference(own)).unwrap_or_default();
        if missing.is_empty() { Ok(()) } else { Err(Error::MissingScopes(missing)) }
    }

    /// Checks that the caller has all of the scopes. A caller must not grant a scope that it lacks, nor change a user or
    /// client with such a scope: both would be a privilege escalation. `account` is not checked, since every user has it
    /// for the own account.
    pub(crate) fn must_have(&self, scopes: &Scopes) -> Result<(), Error> {
        self.must_have_each(&scopes.difference(&[ACCOUNT].into_iter().collect()))
    }
}
