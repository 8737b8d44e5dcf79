//! Statements on audit events and their seals, and the conversion of their rows.

use chrono::{DateTime, Utc};

use super::Recorded;
use crate::{ids::EventId, store::StoreError};

/// Inserts an event unless its id lies in a span that was closed to be sealed.
pub(super) const INSERT: &str = "INSERT INTO audit_events \
     (id, at, kind, outcome, actor, subject, client_id, address, request_id, details) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE \
     ((SELECT last_id FROM audit_seals WHERE number >= 0 ORDER BY number DESC LIMIT 1) >= $1) IS NOT TRUE";

/// Builds the statement for a page of events, newest first. `$1` is the cursor, `$2` the page size, `$4` the earliest
/// time, and `$3` the first id of its millisecond. Each statement uses an index that ends with the id; the other filters,
/// `$6` and `$7`, are checked row by row. NULL: no filter.
macro_rules! page {
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT id, at, kind, outcome, actor, subject, client_id, address, request_id, details FROM audit_events WHERE ",
            $where,
            " AND ($4 IS NULL OR at >= $4) ORDER BY ",
            $order,
            " LIMIT $2"
        )
    };
}
pub(super) const LIST: &str = page!("id < $1 AND id >= $3", "id DESC");
pub(super) const LIST_SUBJECT: &str = page!(
    "subject = $5 AND id < $1 AND id >= $3 AND ($6 IS NULL OR actor = $6) AND ($7 IS NULL OR kind = $7)",
    "id DESC"
);
pub(super) const LIST_ACTOR: &str =
    page!("actor = $6 AND id < $1 AND id >= $3 AND ($7 IS NULL OR kind = $7)", "id DESC");
// A range of `audit_events_kind_idx`: with `kind = $7`, a generic plan of Postgres prefers to scan the primary key, since
// there are few kinds, and reads the whole table for a rare kind.
pub(super) const LIST_KIND: &str = page!("(kind, id) < ($7, $1) AND (kind, id) >= ($7, $3)", "kind DESC, id DESC");

/// Deletes the oldest events, at most `$2`: those up to the anchor of the seals or, without seals, up to `$1`.
// A range of the index: for `IN (… LIMIT $2)`, a generic plan of Postgres expects many rows and scans the whole table.
pub(super) const DELETE_OLDEST: &str = "DELETE FROM audit_events WHERE id <= (SELECT id FROM \
     (SELECT id FROM audit_events WHERE \
     id <= COALESCE((SELECT last_id FROM audit_seals WHERE number >= 0 ORDER BY number LIMIT 1), $1) \
     ORDER BY id LIMIT $2) AS oldest ORDER BY id DESC LIMIT 1)";
/// Deletes the oldest seal if the span of the next one ends by `$1`: the next one becomes the anchor.
pub(super) const DELETE_OLDEST_SEAL: &str = "DELETE FROM audit_seals WHERE \
     number = (SELECT number FROM audit_seals WHERE number >= 0 ORDER BY number LIMIT 1) AND \
     (SELECT later.last_id FROM audit_seals AS later WHERE later.number > audit_seals.number AND later.mac IS NOT NULL \
     ORDER BY later.number LIMIT 1) <= $1";

/// The id after `$1` that `$3` others precede, if it is not after `$2`.
pub(super) const NTH_ID: &str = "SELECT id FROM audit_events WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3";
/// The last id after `$1`, if it is not after `$2`.
pub(super) const LAST_ID: &str = "SELECT id FROM audit_events WHERE id > $1 AND id <= $2 ORDER BY id DESC LIMIT 1";
/// At most `$3` events of the span after `$1` up to `$2`.
pub(super) const SPAN: &str = "SELECT id, at, kind, outcome, actor, subject, client_id, address, request_id, details \
     FROM audit_events WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";
pub(super) const COUNT_AFTER: &str = "SELECT count(*) FROM audit_events WHERE id > $1";

/// The newest span, sealed or only closed, and the newest sealed one.
pub(super) const NEWEST_SEAL: &str = "SELECT number, last_id, events, digest, previous, mac, sealed_at \
     FROM audit_seals WHERE number >= 0 ORDER BY number DESC LIMIT 1";
pub(super) const NEWEST_SEALED: &str = "SELECT number, last_id, events, digest, previous, mac, sealed_at \
     FROM audit_seals WHERE number >= 0 AND mac IS NOT NULL ORDER BY number DESC LIMIT 1";
pub(super) const SEALS: &str = "SELECT number, last_id, events, digest, previous, mac, sealed_at \
     FROM audit_seals WHERE number > $1 ORDER BY number LIMIT $2";
/// The anchor.
pub(super) const OLDEST_SEAL: &str = "SELECT number FROM audit_seals WHERE number >= 0 ORDER BY number LIMIT 1";
pub(super) const CLOSE: &str =
    "INSERT INTO audit_seals (number, last_id) VALUES ($1, $2) ON CONFLICT (number) DO NOTHING";
pub(super) const SEAL: &str = "UPDATE audit_seals SET events = $2, digest = $3, previous = $4, mac = $5, sealed_at = $6 \
     WHERE number = $1 AND mac IS NULL";
/// The open transactions that have written to the table of events. Postgres only.
pub(super) const WRITERS: &str = "SELECT virtualtransaction FROM pg_locks WHERE \
     database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND \
     relation = 'audit_events'::regclass AND mode = 'RowExclusiveLock'";

crate::store::hot! {
    INSERT, LIST, LIST_SUBJECT, LIST_ACTOR, LIST_KIND, DELETE_OLDEST, DELETE_OLDEST_SEAL, NTH_ID, LAST_ID, SPAN,
    NEWEST_SEAL, NEWEST_SEALED, SEALS, OLDEST_SEAL, SEAL
}

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) id: EventId,
    pub(super) at: DateTime<Utc>,
    pub(super) kind: String,
    pub(super) outcome: String,
    pub(super) actor: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) address: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) details: String,
}

/// A row of `audit_seals`. The columns that may be NULL are set together.
#[derive(sqlx::FromRow)]
pub(super) struct SealRow {
    pub(super) number: i64,
    pub(super) last_id: EventId,
    pub(super) events: Option<i64>,
    pub(super) digest: Option<Vec<u8>>,
    pub(super) previous: Option<Vec<u8>>,
    pub(super) mac: Option<Vec<u8>>,
    pub(super) sealed_at: Option<DateTime<Utc>>,
}

impl TryFrom<EventRow> for Recorded {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let impossible = |problem| StoreError::impossible("audit_events", &row.id, problem);
        Ok(Self {
            id: row.id,
            at: row.at,
            outcome: row.outcome.parse().map_err(|_| impossible("the outcome is not known"))?,
            details: serde_json::from_str(&row.details).map_err(|_| impossible("the details are no JSON object"))?,
            kind: row.kind,
            actor: row.actor,
            subject: row.subject,
            client_id: row.client_id,
            address: row.address,
            request_id: row.request_id,
        })
    }
}
