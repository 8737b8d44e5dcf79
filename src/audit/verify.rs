//! Verification of the audit log against its seals, in constant memory and beside running servers.

use std::cmp::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{
    seals::{self, Contents, Seal, SealKey},
    sql::{self, SealRow},
};
use crate::{
    error::Error,
    ids::EventId,
    store::{Store, StoreError, conn, pages::PAGE},
};

/// The maximum number of differences that a report lists, and of spans that were sealed late.
const MOST: usize = 100;
/// The age from which an event counts as sealed late. Servers seal within two minutes.
const LATE: TimeDelta = TimeDelta::hours(1);
/// The age from which an event that is not sealed yet is overdue.
const OVERDUE: TimeDelta = TimeDelta::minutes(5);
/// From here on, an id is of the future. The clocks of servers may differ a little.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// No clock is further ahead.
const NEVER: TimeDelta = TimeDelta::days(36_500);

/// The result of a verification.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The number of sealed events, according to the seals.
    pub sealed: i64,
    /// The number of seals that cover them.
    pub seals: i64,
    /// Where the newest seal ends. `None`: nothing is sealed.
    pub sealed_until: Option<DateTime<Utc>>,
    /// When the oldest seal was made. It changes only with `removed_before`.
    pub sealed_since: Option<DateTime<Utc>>,
    /// The spans whose events were sealed more than an hour after they were recorded, oldest first.
    pub sealed_late: Vec<Late>,
    /// The number of further spans that were sealed late.
    pub further_sealed_late: i64,
    /// The number of events that are not sealed yet.
    pub unsealed: i64,
    /// The time of the oldest of them.
    pub unsealed_since: Option<DateTime<Utc>>,
    /// Whether that is more than five minutes ago.
    pub unsealed_overdue: bool,
    /// The number of unsealed events whose ids are of the future.
    pub unsealed_ahead: i64,
    /// Where the chain of seals begins: earlier events were removed by retention.
    pub removed_before: Option<DateTime<Utc>>,
    /// The differences between the events and their seals, oldest first.
    pub differences: Vec<Difference>,
    /// The number of further differences.
    pub further_differences: u64,
}

/// A span that was sealed late, or several in a row.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Late {
    /// The time of the first event.
    pub from: DateTime<Utc>,
    /// Where the span ends.
    pub to: DateTime<Utc>,
    /// When it was sealed: of several spans, the last one.
    pub sealed_at: DateTime<Utc>,
}

/// A difference between the events of a span and their seal.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// The kind of difference.
    pub found: Found,
    /// The number of events that were added or are missing.
    pub events: Option<i64>,
    /// Where the span begins.
    pub from: DateTime<Utc>,
    /// Where the span ends.
    pub to: DateTime<Utc>,
}

/// The kind of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// An event was changed.
    Changed,
    /// Events were added.
    Added,
    /// Events are missing.
    Missing,
    /// The seal itself is missing or was changed.
    Seal,
}

/// Verifies all events against their seals.
pub async fn verify(store: &Store, key: &SealKey, now: DateTime<Utc>) -> Result<Report, Error> {
    verify_after(store, key, -1, now).await
}

/// Verifies the events of the newest `seals` seals, as if the log began there.
pub(crate) async fn verify_newest(
    store: &Store,
    key: &SealKey,
    seals: i64,
    now: DateTime<Utc>,
) -> Result<Report, Error> {
    let newest = conn::optional!(store.read().await?, SealRow, sql::NEWEST_SEALED)?;
    // One more: the first is the anchor.
    verify_after(store, key, newest.map_or(-1, |row| (row.number - seals - 1).max(-1)), now).await
}

/// Verifies the events of the seals after the number `after`.
async fn verify_after(store: &Store, key: &SealKey, mut after: i64, now: DateTime<Utc>) -> Result<Report, Error> {
    let mut chain = Chain { store, key, last: None, report: Report::default() };
    loop {
        let mut conn = store.read().await?;
        let page = conn::all!(conn, SealRow, sql::SEALS, after, PAGE)?;
        drop(conn);
        let Some(last) = page.last() else { break };
        after = last.number;
        // A span that is only closed has no seal. Anywhere but at the end, the next seal finds that one is missing.
        for seal in page.into_iter().filter_map(Seal::of) {
            chain.add(seal).await?;
        }
    }
    chain.finish(now).await
}

/// The seals that were verified so far.
struct Chain<'a> {
    store: &'a Store,
    key: &'a SealKey,
    last: Option<Seal>,
    report: Report,
}

impl Chain<'_> {
    async fn add(&mut self, seal: Seal) -> Result<(), Error> {
        let difference = match &self.last {
            Some(last) => self.compare(last, &seal).await?.map(|(found, events)| (found, events, last.last_id.time())),
            None => None,
        };
        let first = self.first_if_late(&seal).await?;
        // Retention removes the seals before a span first, and then the events of the span: that is no difference.
        let is_removed = difference.is_some() && self.oldest().await?.is_some_and(|oldest| oldest >= seal.number);
        if self.last.is_none() || is_removed {
            self.begin(&seal);
        } else {
            self.report.seals += 1;
            self.report.sealed += seal.contents.events;
            self.report.sealed_until = Some(seal.last_id.time());
            // The time of a seal that was changed means nothing.
            if let Some(first) = first.filter(|_| !matches!(difference, Some((Found::Seal, ..)))) {
                self.note_late(first, &seal);
            }
            if let Some((found, events, from)) = difference {
                self.note(found, events, from, seal.last_id.time());
            }
        }
        self.last = Some(seal);
        Ok(())
    }

    /// Begins the chain with an anchor, whose events are gone.
    fn begin(&mut self, anchor: &Seal) {
        self.report.removed_before = Some(anchor.last_id.time()).filter(|_| anchor.number > 0);
        (self.report.seals, self.report.sealed, self.report.sealed_until) = (0, 0, None);
        (self.report.sealed_since, self.report.sealed_late) = (Some(anchor.sealed_at), Vec::new());
        if !self.key.verify(anchor) {
            self.note(Found::Seal, None, seals::beginning().time(), anchor.last_id.time());
        }
    }

    /// Compares the events of a span with its seal.
    async fn compare(&self, last: &Seal, seal: &Seal) -> Result<Option<(Found, Option<i64>)>, Error> {
        if seal.number != last.number + 1 || seal.previous != last.mac || !self.key.verify(seal) {
            return Ok(Some((Found::Seal, None)));
        }
        let Contents { events, digest } = match seals::contents(self.store, last.last_id, seal.last_id).await {
            Err(error) if error.is_undecodable() => return Ok(Some((Found::Changed, None))),
            contents => contents?,
        };
        let difference = events - seal.contents.events;
        Ok(match difference.cmp(&0) {
            Ordering::Greater => Some((Found::Added, Some(difference))),
            Ordering::Less => Some((Found::Missing, Some(-difference))),
            Ordering::Equal if digest != seal.contents.digest => Some((Found::Changed, None)),
            Ordering::Equal => None,
        })
    }

    /// Returns the time of the first event of a span if it was sealed late.
    async fn first_if_late(&self, seal: &Seal) -> Result<Option<DateTime<Utc>>, StoreError> {
        let late = EventId::first_of(seal.sealed_at - LATE);
        // Most spans begin less than an hour before they are sealed.
        let Some(last) = self.last.as_ref().filter(|last| last.last_id < late) else { return Ok(None) };
        let mut conn = self.store.read().await?;
        let first = conn::optional!(conn, (EventId,), sql::NTH_ID, last.last_id, late.min(seal.last_id), 0_i64)?;
        Ok(first.map(|(id,)| id.time()))
    }

    fn note_late(&mut self, from: DateTime<Utc>, seal: &Seal) {
        let (to, sealed_at, spans) = (seal.last_id.time(), seal.sealed_at, &mut self.report.sealed_late);
        let begins = self.last.as_ref().map(|last| last.last_id.time());
        if let Some(late) = spans.last_mut().filter(|late| Some(late.to) == begins && sealed_at - late.sealed_at < LATE)
        {
            (late.to, late.sealed_at) = (to, sealed_at);
        } else if spans.len() < MOST {
            spans.push(Late { from, to, sealed_at });
        } else {
            self.report.further_sealed_late += 1;
        }
    }

    /// Returns the number of the anchor.
    async fn oldest(&self) -> Result<Option<i64>, StoreError> {
        let mut conn = self.store.read().await?;
        Ok(conn::optional!(conn, (i64,), sql::OLDEST_SEAL)?.map(|(number,)| number))
    }

    fn note(&mut self, found: Found, events: Option<i64>, from: DateTime<Utc>, to: DateTime<Utc>) {
        let differences = &mut self.report.differences;
        if let Some(last) = differences.last_mut().filter(|last| found == Found::Seal && last.found == found)
            && last.to == from
        {
            last.to = to;
        } else if differences.len() < MOST {
            differences.push(Difference { found, events, from, to });
        } else {
            self.report.further_differences += 1;
        }
    }

    /// Counts the events after the last seal.
    async fn finish(mut self, now: DateTime<Utc>) -> Result<Report, Error> {
        let last = self.last.as_ref().map_or(seals::beginning(), |seal| seal.last_id);
        let never = EventId::first_of(now + NEVER).max(last);
        let ahead = EventId::first_of(now + AHEAD).max(last);
        let mut conn = self.store.read().await?;
        let unsealed = conn::scalar!(conn, i64, sql::COUNT_AFTER, last)?;
        let oldest = conn::optional!(conn, (EventId,), sql::NTH_ID, last, never, 0_i64)?;
        let future = conn::scalar!(conn, i64, sql::COUNT_AFTER, ahead)?;
        // No server gives such ids, and no seal would ever cover them.
        let added = conn::scalar!(conn, i64, sql::COUNT_AFTER, never)?;
        drop(conn);
        if added > 0 {
            self.note(Found::Added, Some(added), last.time(), now);
        }
        self.report.unsealed = (unsealed - added).max(0);
        self.report.unsealed_ahead = (future - added).max(0);
        self.report.unsealed_since = oldest.map(|(id,)| id.time());
        self.report.unsealed_overdue = self.report.unsealed_since.is_some_and(|since| since < now - OVERDUE);
        Ok(self.report)
    }
}
