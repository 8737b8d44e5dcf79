//! Statements on revocations.

use chrono::{DateTime, Utc};
use grantd_guard::RevocationKind;

use super::Item;
use crate::store::StoreError;

pub(super) const AFTER: &str = "SELECT number, mark, kind, id, revoked_at, expires_at FROM revocations \
     WHERE number > $1 AND expires_at > $2 ORDER BY number LIMIT $3";
pub(super) const MARK: &str = "SELECT mark FROM revocations WHERE number = $1";
/// Deletes the oldest `$2` expired revocations, and those with the same expiry as the last.
// A range of the index: for `IN (… LIMIT $2)`, a generic plan of Postgres expects many rows and scans the whole table.
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM revocations WHERE expires_at <= (SELECT max(expires_at) FROM \
     (SELECT expires_at FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AS oldest)";

crate::store::hot! { AFTER, MARK, DELETE_EXPIRED }

#[derive(sqlx::FromRow)]
pub(super) struct ItemRow {
    number: i64,
    mark: String,
    kind: String,
    id: String,
    revoked_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl TryFrom<ItemRow> for Item {
    type Error = StoreError;

    fn try_from(row: ItemRow) -> Result<Self, StoreError> {
        let unknown = || StoreError::impossible("revocations", &row.number, "the kind is not known");
        Ok(Self {
            kind: RevocationKind::parse(&row.kind).ok_or_else(unknown)?,
            number: row.number,
            mark: row.mark,
            id: row.id,
            revoked_at: row.revoked_at,
            expires_at: row.expires_at,
        })
    }
}
