//! On whose behalf something is done, and what they may give to others.

use grantd_guard::{Scope, Scopes};

use crate::{audit::Origin, error::Error, roles, store::Conn};

const ACCOUNT: Scope = Scope::from_static("account");

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct Authority {
    /// For the audit log.
    pub origin: Origin,
    /// What they have themselves; none: everything that there is.
    scopes: Option<Scopes>,
}

impl Authority {
    /// The command line, a set-up file, the first start: whoever can start them has the database anyway.
    #[must_use]
    pub fn system() -> Self {
        Self { origin: Origin::system(), scopes: None }
    }

    /// Somebody who has these scopes.
    pub(crate) fn of(origin: Origin, scopes: Scopes) -> Self {
        Self { origin, scopes: Some(scopes) }
    }

    /// Nobody gives what they lack, and nobody changes who has what they lack. All users have the scope `account`, over their
    /// own accounts: whoever gives it gives nothing.
    pub(crate) fn must_have(&self, scopes: &Scopes) -> Result<(), Error> {
        let lacking = self.scopes.as_ref().map(|own| scopes.difference(own)).unwrap_or_default();
        let lacking = lacking.difference(&[ACCOUNT].into_iter().collect());
        if lacking.is_empty() { Ok(()) } else { Err(Error::Lacking(lacking)) }
    }

    /// The same where a user has the scopes. What every user has by the role `member` is given to each new one in any case.
    pub(crate) async fn must_have_of_user(&self, conn: &mut Conn, scopes: &Scopes) -> Result<(), Error> {
        match self.must_have(scopes) {
            Err(Error::Lacking(lacking)) => {
                self.must_have(&lacking.difference(&roles::scopes_of_everybody(conn).await?))
            }
            done => done,
        }
    }
}
