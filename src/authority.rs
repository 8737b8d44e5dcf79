//! For whom a change is made, and what they may grant.

use grantd_guard::{Scope, Scopes};

use crate::{audit::Origin, error::Error};

const ACCOUNT: Scope = Scope::from_static("account");

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct Authority {
    /// For the audit log.
    pub origin: Origin,
    /// Their own scopes. `None`: every scope.
    scopes: Option<Scopes>,
}

impl Authority {
    /// Returns that of the command line, of a set-up file, and of the first start: who can start them has the database anyway.
    #[must_use]
    pub fn system() -> Self {
        Self { origin: Origin::system(), scopes: None }
    }

    /// Returns that of a caller with these scopes.
    pub(crate) fn of(origin: Origin, scopes: Scopes) -> Self {
        Self { origin, scopes: Some(scopes) }
    }

    /// Checks that the caller has all of the scopes: nobody grants a scope that they lack, and nobody changes a user or client
    /// with a scope that they lack. `account` does not count, since every user has it for their own account.
    pub(crate) fn must_have(&self, scopes: &Scopes) -> Result<(), Error> {
        let missing = self.scopes.as_ref().map(|own| scopes.difference(own)).unwrap_or_default();
        let missing = missing.difference(&[ACCOUNT].into_iter().collect());
        if missing.is_empty() { Ok(()) } else { Err(Error::MissingScopes(missing)) }
    }
}
