//! On whose behalf something is done, and what they may give to others.

use grantd_guard::Scopes;

use crate::{audit::Origin, error::Error, roles, store::Conn};

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

    /// Nobody gives what they lack, and nobody changes who has what they lack. What every user has by the role `member` is
    /// given to each new one in any case, and thus free.
    pub(crate) async fn must_have(&self, conn: &mut Conn, scopes: &Scopes) -> Result<(), Error> {
        let Some(own) = &self.scopes else { return Ok(()) };
        let lacking = scopes.difference(own);
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking = lacking.difference(&roles::scopes_of_everybody(conn).await?);
        if lacking.is_empty() { Ok(()) } else { Err(Error::Lacking(lacking)) }
    }
}
