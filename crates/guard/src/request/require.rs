//! The middleware that guards several routes.

use super::{Rejection, Verdict, Verified};
use crate::{Guard, InvalidScope, Refusal, Scopes};

impl Guard {
    /// Returns a middleware that requires a token with all of these scopes (space-delimited; the empty text requires any
    /// valid token). Extractors behind it use the verified claims, and need no guard of their own.
    ///
    /// In actix-web, it wraps a `web::scope`; elsewhere, it is a `tower` layer.
    pub fn require(&self, scopes: &str) -> Result<RequireAll, InvalidScope> {
        Ok(RequireAll { guard: self.clone(), needed: scopes.parse()? })
    }
}

/// The middleware that [`Guard::require`] returns.
#[derive(Clone, Debug)]
pub struct RequireAll {
    guard: Guard,
    needed: Scopes,
}

impl RequireAll {
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Checks the scopes of a verified token.
    pub(crate) fn finish(&self, verdict: Verdict) -> Result<Verified, Rejection> {
        let verified = verdict.and_then(|claims| {
            if claims.scope.contains_all(&self.needed) {
                Ok(Verified { claims, guard: self.guard.clone() })
            } else {
                Err(Refusal::Scope(self.needed.clone()))
            }
        });
        verified.map_err(|refusal| Rejection::new(refusal, self.guard.realm()))
    }
}
