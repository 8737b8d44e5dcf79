//! Revocations: what was ended before its time, for all who check tokens by themselves.

mod routes;
mod sql;

use std::time::Duration;

use chrono::{DateTime, Utc};
use grantd_guard::{Revocation, RevocationKind};

pub(crate) use self::routes::{__path_list, list};
use crate::{
    error::Error,
    keys,
    secret::{self, NoRandomness},
    store::{Conn, StoreError, run},
};

/// Clocks differ: a revocation is known for so much longer than the tokens live that it refuses.
const MARGIN: Duration = Duration::from_mins(1);
/// The mark before the first revocation, as the migration writes it.
const START: &str = "start";
/// Rows that are read at once.
const PAGE: i64 = 1000;

/// A revocation, and its place in the feed.
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
            expires_at: item.expires_at.timestamp().saturating_add(1),
        }
    }
}

/// Revokes, in the transaction of the change that it belongs to. As the last thing there: it holds a row that every other
/// revocation waits for.
pub(crate) async fn record(
    conn: &mut Conn,
    kind: RevocationKind,
    ids: &[String],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Ok(count @ 1..) = i64::try_from(ids.len()) else { return Ok(()) };
    let expires_at = now + keys::longest_ttl(conn).await? + MARGIN;
    let mark = mark()?;
    let last = run::scalar!(conn, i64, sql::NUMBERS, count, mark.as_str())?;
    for (number, id) in (last - count + 1..).zip(ids) {
        run::execute!(conn, sql::INSERT, number, mark.as_str(), kind.as_str(), id.as_str(), now, expires_at)?;
    }
    Ok(())
}

fn mark() -> Result<String, NoRandomness> {
    Ok(format!("{:016x}", u64::from_ne_bytes(secret::random()?)))
}

/// All that is live after a number.
pub(crate) async fn all_after(
    conn: &mut Conn,
    mut after: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Revocation>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = page(conn, after, PAGE, now).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.number;
        all.extend(page.into_iter().map(Revocation::from));
    }
}

async fn page(conn: &mut Conn, after: i64, limit: i64, now: DateTime<Utc>) -> Result<Vec<Item>, StoreError> {
    let rows = run::all!(conn, sql::ItemRow, sql::AFTER, after, now, limit)?;
    rows.into_iter().map(Item::try_from).collect()
}

/// A place in the feed, as callers keep it.
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

    /// Whether this place is one of the history that the database has, and everything after it is still there.
    async fn is_known(&self, conn: &mut Conn, head: &crate::changes::Row) -> Result<bool, StoreError> {
        if self.number == head.revocations {
            return Ok(self.mark == head.revocation_mark);
        }
        if self.number == 0 {
            return Ok(self.mark == START);
        }
        let mark = run::optional!(conn, (String,), sql::MARK, self.number)?;
        Ok(mark.is_some_and(|(mark,)| mark == self.mark))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.number, self.mark, self.signing_keys)
    }
}
