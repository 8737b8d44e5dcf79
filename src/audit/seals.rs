//! Seals of the audit log. A seal covers a span of events, in the order of their ids: their number, the digest over them
//! and a MAC over that and the seal before, under a key that is stored sealed under the master key.
//!
//! No event may join a span that is sealed, whatever clocks and pauses do. So a span is closed first, by a row without a
//! MAC: from then on, [`super::record`] gives a late event an id after it. Once the transactions that may not have seen
//! the row have ended, the span is sealed. A server that stops in between leaves a closed span, which the next one seals.

use aws_lc_rs::{
    digest::{self, SHA256},
    hmac,
};
use chrono::{DateTime, TimeDelta, Utc};

use super::sql::{self, EventRow, SealRow};
use crate::{
    clock::Clock,
    error::Error,
    ids::EventId,
    store::{Conn, Store, StoreError, conn, pages::PAGE},
};

/// The age of events that are sealed. It saves late events another id; without it, nothing would break.
const AGE: TimeDelta = TimeDelta::seconds(30);
/// Where a clock was ahead, how far after the newest span the next one may end. The ids that the clock gave lie shortly
/// after the span. Ids of another time do not pull the chain there.
const REACH: TimeDelta = TimeDelta::hours(1);
/// The maximum number of events of a seal.
const MOST: i64 = 10_000;
/// The version of the digest and the MAC. A new format gets a new number.
const VERSION: u8 = 1;

/// Makes and verifies the MACs of seals.
#[derive(Debug)]
pub struct SealKey(hmac::Key);

impl SealKey {
    /// Makes MACs with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn sign(&self, seal: &Seal) -> Vec<u8> {
        hmac::sign(&self.0, &seal.message()).as_ref().to_vec()
    }

    /// Returns whether the MAC of a seal was made with this key.
    pub(super) fn verify(&self, seal: &Seal) -> bool {
        hmac::verify(&self.0, &seal.message(), &seal.mac).is_ok()
    }
}

/// A seal.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) number: i64,
    pub(super) last_id: EventId,
    pub(super) contents: Contents,
    pub(super) previous: Vec<u8>,
    pub(super) mac: Vec<u8>,
    pub(super) sealed_at: DateTime<Utc>,
}

/// The number of events of a span, and the digest over them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) events: i64,
    pub(super) digest: Vec<u8>,
}

impl Seal {
    /// Returns the seal of a row. `None`: the span is closed, and not sealed yet.
    pub(super) fn of(row: SealRow) -> Option<Self> {
        let mac = row.mac?;
        // The other columns are set together with the MAC. Where they are not, it is wrong.
        Some(Self {
            number: row.number,
            last_id: row.last_id,
            contents: Contents { events: row.events.unwrap_or_default(), digest: row.digest.unwrap_or_default() },
            previous: row.previous.unwrap_or_default(),
            mac,
            sealed_at: row.sealed_at.unwrap_or_default(),
        })
    }

    /// Returns what the MAC covers. Where the span begins is part of the seal before, whose MAC is.
    fn message(&self) -> Vec<u8> {
        let mut message = vec![VERSION];
        message.extend(self.number.to_be_bytes());
        message.extend(self.last_id.as_bytes());
        message.extend(self.contents.events.to_be_bytes());
        message.extend(self.sealed_at.timestamp_micros().to_be_bytes());
        for bytes in [&self.contents.digest, &self.previous] {
            message.extend(length(bytes));
            message.extend(bytes);
        }
        message
    }
}

/// Returns the id before all others.
pub(super) fn beginning() -> EventId {
    EventId::from([0; 16])
}

/// Reads the events after an id up to another, page by page, and returns their number and digest.
pub(super) async fn contents(store: &Store, after: EventId, last: EventId) -> Result<Contents, StoreError> {
    let mut digest = digest::Context::new(&SHA256);
    digest.update(&[VERSION]);
    let (mut events, mut after) = (0, after);
    loop {
        let mut conn = store.read().await?;
        let page = conn::all!(conn, EventRow, sql::SPAN, after, last, PAGE)?;
        for event in &page {
            update(&mut digest, event);
        }
        let read = i64::try_from(page.len()).unwrap_or(i64::MAX);
        events += read;
        match page.last() {
            Some(event) if read == PAGE => after = event.id,
            _ => return Ok(Contents { events, digest: digest.finish().as_ref().to_vec() }),
        }
    }
}

/// Adds an event to a digest. Each text is preceded by its length, so that no other event has the same bytes.
fn update(digest: &mut digest::Context, event: &EventRow) {
    digest.update(event.id.as_bytes());
    digest.update(&event.at.timestamp_micros().to_be_bytes());
    for text in [
        Some(&event.kind),
        Some(&event.outcome),
        event.actor.as_ref(),
        event.subject.as_ref(),
        event.client_id.as_ref(),
        event.address.as_ref(),
        event.request_id.as_ref(),
        Some(&event.details),
    ] {
        digest.update(&[u8::from(text.is_some())]);
        if let Some(text) = text {
            digest.update(&length(text.as_bytes()));
            digest.update(text.as_bytes());
        }
    }
}

fn length(bytes: &[u8]) -> [u8; 8] {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes()
}

/// The result of a step of the [`Sealer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to seal.
    Done,
    /// A transaction is open that may add to the closed span.
    Waiting,
    /// There may be more to seal.
    More,
}

/// Seals the spans, one after the other. Several servers may do this at the same time: the first to close or to seal a
/// span wins, and the others go on from there.
#[derive(Debug)]
pub struct Sealer {
    /// The age of events that are sealed.
    age: TimeDelta,
    /// The number of the closed span, and the transactions that may still add to it.
    open: Option<(i64, Vec<String>)>,
    /// The number and the MAC of the newest seal that this server has seen.
    newest: Option<(i64, Vec<u8>)>,
}

impl Default for Sealer {
    fn default() -> Self {
        Self { age: AGE, open: None, newest: None }
    }
}

impl Sealer {
    /// Seals the newest events, too: for the end of a server, after which nobody may seal them for long.
    #[must_use]
    pub fn of_all() -> Self {
        Self { age: TimeDelta::zero(), ..Self::default() }
    }

    /// Closes the next span, or seals the closed one.
    // The time is taken when the rows were read: a span is not sealed before it was closed, by whichever server.
    pub async fn step(&mut self, store: &Store, key: &SealKey, clock: &Clock) -> Result<Progress, Error> {
        let mut conn = store.read().await?;
        let newest = conn::optional!(conn, SealRow, sql::NEWEST_SEAL)?;
        if let Some(closed) = newest.as_ref().filter(|row| row.mac.is_none()) {
            let before = conn::optional!(conn, SealRow, sql::NEWEST_SEALED)?.and_then(Seal::of);
            drop(conn);
            return self.seal(store, key, closed, before, clock.now()).await;
        }
        drop(conn);
        let newest = newest.and_then(Seal::of);
        self.compare(newest.as_ref());
        Ok(close_next(store, newest.as_ref(), clock.now(), self.age).await?)
    }

    /// Reports that seals were removed or replaced since the last step: what remains may be a valid chain.
    fn compare(&mut self, newest: Option<&Seal>) {
        let newest = newest.map(|seal| (seal.number, seal.mac.clone()));
        if let Some(number) = self.lost(newest.as_ref()) {
            tracing::error!(seal = number, "seals of the audit log were removed, or an older database was restored");
        }
        self.newest = newest;
    }

    /// Returns the number of the newest seal that this server has seen, if it cannot be part of this chain.
    fn lost(&self, newest: Option<&(i64, Vec<u8>)>) -> Option<i64> {
        let seen = self.newest.as_ref()?;
        let continues = newest.is_some_and(|newest| newest.0 > seen.0 || newest == seen);
        (!continues).then_some(seen.0)
    }

    async fn seal(
        &mut self,
        store: &Store,
        key: &SealKey,
        closed: &SealRow,
        before: Option<Seal>,
        now: DateTime<Utc>,
    ) -> Result<Progress, Error> {
        // Read after the row of the closed span: a transaction that has not seen the row is listed, or has ended.
        let mut open = writers(store).await?;
        if let Some((number, earlier)) = self.open.take()
            && number == closed.number
        {
            // Those that began later have seen the row.
            open.retain(|writer| earlier.contains(writer));
        }
        if !open.is_empty() {
            self.open = Some((closed.number, open));
            return Ok(Progress::Waiting);
        }
        let (after, previous) = before.map_or((beginning(), Vec::new()), |seal| (seal.last_id, seal.mac));
        let contents = contents(store, after, closed.last_id).await?;
        let (number, last_id) = (closed.number, closed.last_id);
        let seal = Seal { number, last_id, contents, previous, mac: Vec::new(), sealed_at: now };
        let mac = key.sign(&seal);
        let Contents { events, digest } = seal.contents;
        let mut conn = store.write().await?;
        conn::execute!(conn, sql::SEAL, number, events, digest, seal.previous, mac, now)?;
        Ok(Progress::More)
    }
}

/// Closes the span after the newest seal. The anchor of a new chain covers no events.
///
/// A span ends with the newest event of this age. If the clock of a server was ahead, the newest span may end in the future, and
/// new events get ids after it. Until that time has come, a span ends with the newest event instead.
async fn close_next(
    store: &Store,
    newest: Option<&Seal>,
    now: DateTime<Utc>,
    age: TimeDelta,
) -> Result<Progress, StoreError> {
    let after = newest.map_or(beginning(), |seal| seal.last_id);
    let is_ahead = after > EventId::first_of(now);
    let due = EventId::first_of(if is_ahead { after.time() + REACH } else { now - age });
    let mut conn = store.read().await?;
    let Some((newest_id,)) = conn::optional!(conn, (EventId,), sql::LAST_ID, after, due)? else {
        return Ok(Progress::Done);
    };
    let (number, last) = match newest {
        None => (0, beginning()),
        Some(newest) => {
            let full = conn::optional!(conn, (EventId,), sql::NTH_ID, after, due, MOST - 1)?;
            (newest.number + 1, full.map_or(if is_ahead { newest_id } else { due }, |(id,)| id))
        }
    };
    drop(conn);
    let mut conn = store.write().await?;
    conn::execute!(conn, sql::CLOSE, number, last)?;
    Ok(Progress::More)
}

/// Returns the open transactions that have written to the table of events. SQLite has one writer: when a span is closed,
/// no other transaction is open.
async fn writers(store: &Store) -> Result<Vec<String>, StoreError> {
    if !store.is_postgres() {
        return Ok(Vec::new());
    }
    let mut conn = store.read().await?;
    let rows = conn::all!(conn, (String,), sql::WRITERS)?;
    Ok(rows.into_iter().map(|(writer,)| writer).collect())
}

/// Returns an id after the span that was closed last.
pub(super) async fn id_after_closed(conn: &mut Conn) -> Result<EventId, StoreError> {
    let newest = conn::optional!(conn, SealRow, sql::NEWEST_SEAL)?;
    let end = newest.map_or(beginning(), |row| row.last_id);
    Ok(EventId::new(end.time() + TimeDelta::milliseconds(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_that_were_seen_and_are_gone_are_noticed() {
        let lost = |seen: Option<(i64, u8)>, newest: Option<(i64, u8)>| {
            let seal = |(number, mac): (i64, u8)| (number, vec![mac]);
            let sealer = Sealer { newest: seen.map(seal), ..Sealer::default() };
            sealer.lost(newest.map(seal).as_ref())
        };
        assert_eq!((lost(None, None), lost(None, Some((7, 1)))), (None, None));
        assert_eq!((lost(Some((7, 1)), Some((7, 1))), lost(Some((7, 1)), Some((9, 2)))), (None, None));
        assert_eq!((lost(Some((7, 1)), Some((6, 2))), lost(Some((7, 1)), None)), (Some(7), Some(7)));
        // Removed, and made again with other events.
        assert_eq!(lost(Some((7, 1)), Some((7, 2))), Some(7));
    }
}
