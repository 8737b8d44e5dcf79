//! The statements about revocations.

use chrono::{DateTime, Utc};
use grantd_guard::RevocationKind;

use super::Item;
use crate::store::StoreError;

/// Holds the row until the transaction is over: numbers are thus in the order of the commits, and whoever has read one has
/// read all before it.
pub(super) const NUMBERS: &str =
    "UPDATE changes SET revocations = revocations + $1, revocation_mark = $2 WHERE id = 1 RETURNING revocations";
pub(super) const INSERT: &str = "INSERT INTO revocations (number, mark, kind, id, revoked_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6)";
pub(super) const AFTER: &str = "SELECT number, mark, kind, id, revoked_at, expires_at FROM revocations \
     WHERE number > $1 AND expires_at > $2 ORDER BY number LIMIT $3";
pub(super) const MARK: &str = "SELECT mark FROM revocations WHERE number = $1";

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
