//! The table `changes`: one row, which every server polls to find out which of its caches to invalidate.

use super::{Conn, StoreError, conn};

const READ: &str = "SELECT revocations, revocation_mark, signing_keys, clients, roles FROM changes WHERE id = 1";
/// Locks the row until the transaction ends, so revocations are numbered in the order of the commits. Without the lock, a
/// lower number could be committed after a higher one, and a server that had read the higher one would never read it.
/// `$3` to `$5`: NULL if nothing of this kind has changed.
const WRITE: &str = "UPDATE changes SET revocations = revocations + $1, revocation_mark = COALESCE($2, revocation_mark), \
     signing_keys = COALESCE($3, signing_keys), clients = COALESCE($4, clients), roles = COALESCE($5, roles) \
     WHERE id = 1 RETURNING revocations";

/// The row of `changes`. All values but the first are random and replaced by each change. A counter would repeat after a
/// restored backup: a server would take a new change for one that it has synced already.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Changes {
    /// The number of the newest revocation.
    pub(crate) revocations: i64,
    /// The mark of the newest revocation.
    pub(crate) revocation_mark: String,
    /// Replaced when signing keys change.
    pub(crate) signing_keys: i64,
    /// Replaced when clients change.
    pub(crate) clients: i64,
    /// Replaced when roles or scopes change.
    pub(crate) roles: i64,
}

/// An update of the row by a transaction.
#[derive(Debug)]
pub(super) struct Update {
    /// The number of new revocations.
    pub(super) revocations: i64,
    pub(super) revocation_mark: Option<String>,
    pub(super) signing_keys: Option<i64>,
    pub(super) clients: Option<i64>,
    pub(super) roles: Option<i64>,
}

/// Reads the row.
pub(crate) async fn read(conn: &mut Conn) -> Result<Changes, StoreError> {
    conn::optional!(conn, Changes, READ)?.ok_or_else(|| StoreError::impossible("changes", "1", "it is missing"))
}

/// Writes the row, and returns the number of the newest revocation.
pub(super) async fn write(conn: &mut Conn, update: &Update) -> Result<i64, StoreError> {
    let Update { revocations, revocation_mark, signing_keys, clients, roles } = update;
    conn::scalar!(conn, i64, WRITE, *revocations, revocation_mark.as_deref(), *signing_keys, *clients, *roles)
}
