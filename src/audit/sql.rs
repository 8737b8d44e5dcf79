//! Statements on audit events, and the conversion of their rows.

use chrono::{DateTime, Utc};

use super::Recorded;
use crate::{ids::EventId, store::StoreError};

pub(super) const INSERT: &str = "INSERT INTO audit_events \
     (id, at, kind, outcome, actor, subject, client_id, address, request_id, details) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

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

// A range of the index: for `IN (… LIMIT $2)`, a generic plan of Postgres expects many rows and scans the whole table.
pub(super) const DELETE_OLDEST: &str = "DELETE FROM audit_events WHERE id <= (SELECT id FROM \
     (SELECT id FROM audit_events WHERE id < $1 ORDER BY id LIMIT $2) AS oldest ORDER BY id DESC LIMIT 1)";

crate::store::hot! { LIST, LIST_SUBJECT, LIST_ACTOR, LIST_KIND, DELETE_OLDEST }

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    id: EventId,
    at: DateTime<Utc>,
    kind: String,
    outcome: String,
    actor: Option<String>,
    subject: Option<String>,
    client_id: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    details: String,
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
