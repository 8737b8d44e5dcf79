//! Revocations: tokens that are invalid before they expire. Servers and services that verify tokens offline poll them as
//! a feed.

pub(crate) mod routes;
pub(crate) mod sql;

use std::time::Duration;

use chrono::{DateTime, Utc};
use grantd_guard::{Revocation, RevocationKind};

use crate::store::{Conn, StoreError, changes::Changes, conn};

/// The mark before the first revocation, which the migration writes.
const START: &str = "start";
/// The number of rows that a statement reads.
const PAGE: i64 = 1000;
/// How long revocations are kept after they expire: the cursors of services that were offline for less than this stay
/// valid.
const KEPT: Duration = Duration::from_hours(24);

/// A revocation with its position in the feed.
#[derive(Clone, Debug)]
struct Item {
    number: i64,
    mark: String,
    kind: RevocationKind,
    id: String,
    revoked_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<Item> for Revocation {
    fn from(item: Item) -> Self {
        Self {
            kind: item.kind,
            id: item.id,
            revoked_at: item.revoked_at.timestamp(),
            // Rounded up to the next second: never forgotten before it expires.
            expires_at: item.expires_at.timestamp().saturating_add(1),
        }
    }
}

/// Returns all revocations after a number that have not expired.
pub(crate) async fn list_after(
    conn: &mut Conn,
    mut after: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Revocation>, StoreError> {
    let mut all = Vec::new();
    // Page by page, in the order of the commits: no revocation that is committed meanwhile can come before `after`.
    loop {
        let page = page(conn, after, PAGE, now).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.number;
        all.extend(page.into_iter().map(Revocation::from));
    }
}

/// Returns whether the row of `changes` that was read before belongs to the present history. After a restored backup,
/// numbers are reused for other revocations; their random marks tell them apart.
pub(crate) async fn is_continued(conn: &mut Conn, before: &Changes) -> Result<bool, StoreError> {
    has_mark(conn, before.revocations, &before.revocation_mark).await
}

/// Returns whether the revocation with this number exists and has this mark.
async fn has_mark(conn: &mut Conn, number: i64, mark: &str) -> Result<bool, StoreError> {
    let found = conn::optional!(conn, (String,), sql::MARK, number)?;
    Ok(found.is_some_and(|(found,)| found == mark))
}

/// Deletes revocations that expired at least [`KEPT`] ago, and returns their number: the oldest `limit`, and those with
/// the same expiry as the last.
pub(crate) async fn delete_expired(conn: &mut Conn, now: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    conn::execute!(conn, sql::DELETE_EXPIRED, now - KEPT, limit)
}

async fn page(conn: &mut Conn, after: i64, limit: i64, now: DateTime<Utc>) -> Result<Vec<Item>, StoreError> {
    let rows = conn::all!(conn, sql::ItemRow, sql::AFTER, after, now, limit)?;
    rows.into_iter().map(Item::try_from).collect()
}

/// A cursor of the feed, which callers send back with the next poll.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    number: i64,
    mark: String,
    signing_keys: i64,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (number, mark, keys) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = mark.len() <= 16 && mark.bytes().all(|b| b.is_ascii_alphanumeric()) && parts.next().is_none();
        plain.then_some(())?;
        Some(Self { number: number.parse().ok()?, mark: mark.to_owned(), signing_keys: keys.parse().ok()? })
    }

    /// Returns whether the cursor belongs to the present history: its revocation exists, with this mark. If not, the caller
    /// must read the feed from the beginning.
    async fn is_known(&self, conn: &mut Conn, head: &Changes) -> Result<bool, StoreError> {
        // The head needs no statement, and is the cursor of nearly every poll. Its row may have been deleted already.
        if self.number == head.revocations {
            return Ok(self.mark == head.revocation_mark);
        }
        if self.number == 0 {
            return Ok(self.mark == START);
        }
        // Deleted rows have expired long ago, so the caller has missed none that still matters.
        has_mark(conn, self.number, &self.mark).await
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.number, self.mark, self.signing_keys)
    }
}
