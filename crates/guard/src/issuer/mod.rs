//! What comes from the issuer: when its keys are fetched, what holds while they cannot be, and what it revokes.

#[cfg(test)]
pub(crate) mod fake;
mod feed;
mod http;
mod page;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::watch;

use self::feed::Feed;
pub(crate) use self::page::Credentials;
use crate::{BuildError, Guard, GuardBuilder, KeyError, keys::Keys};

/// The longest that keys are used without asking again, in seconds, so that a key that was withdrawn goes.
const MAX_AGE: i64 = 3600;
/// How long keys are used where the issuer does not say.
const DEFAULT_AGE: i64 = 300;
/// For how many seconds stale keys are still used without waiting while they are fetched again in the background (RFC 5861).
/// Beyond that a request waits: if no token came for long, the key of the first one may have been withdrawn long ago.
const STALE_WHILE_REVALIDATE: i64 = 300;
/// How long a request with a good token waits for keys to replace such old ones.
const REVALIDATION_WAIT: Duration = Duration::from_secs(1);
/// How old the last news of revocations may be: as long as grantd's access tokens live, if nothing else is set.
const MAX_STALENESS: Duration = Duration::from_mins(15);
/// How long a request waits for the first news. Longer, and whoever sent it is gone.
const FIRST_HEARING: Duration = Duration::from_secs(5);

impl GuardBuilder {
    /// Seconds between two attempts to fetch keys, failed ones too, whatever tokens come: tokens with invented
    /// key ids cause no more requests to the issuer. Default: 10.
    pub fn cool_down(mut self, seconds: u32) -> Self {
        self.cool_down = seconds;
        self
    }

    /// Fetches keys over plain HTTP also from hosts that are not this one. Whoever can change what is on the way can then
    /// sign tokens, and whoever can read it has the secret of [`GuardBuilder::follow_revocations`]: for networks that are
    /// trusted as a whole.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Follows what the issuer revokes, as this confidential client of the issuer: the guard keeps asking for it on a thread
    /// of its own, and refuses tokens that count no more within moments instead of when they expire.
    ///
    /// Before it has heard all of it once, no token is accepted; nor while it heard nothing for longer than
    /// [`max_staleness`](GuardBuilder::max_staleness), which is 15 minutes if nothing else was set. (An answer may take 20
    /// seconds, or a third of that time if it is less: much less than a minute lets little go wrong.) [`Guard::health`] tells
    /// how that goes. The thread ends when the last clone of the guard is dropped.
    pub fn follow_revocations(mut self, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        self.follow = Some(Credentials::new(client_id.into(), client_secret.into()));
        self
    }

    /// A guard that fetches its keys from the issuer's metadata (RFC 8414) and JWK set (RFC 7517): at the latest when the
    /// first token comes.
    pub fn build(mut self) -> Result<Guard, BuildError> {
        self.check()?;
        if self.cool_down == 0 {
            return Err(BuildError::CoolDown);
        }
        // A kept connection belongs to the runtime that made it, and that may be gone at the next fetch.
        let client = http::Client::new(&self.issuer, self.allow_http, 0)?;
        let Some(credentials) = self.follow.take() else {
            let source = Source::new(client, self.cool_down, None);
            return Ok(Guard::with_source(self, source));
        };
        let max_staleness = *self.max_staleness.get_or_insert(MAX_STALENESS);
        // The follower has a runtime of its own.
        let followers_client = http::Client::new(&self.issuer, self.allow_http, 1)?;
        let feed = Feed::default();
        let state = feed.subscribe();
        let source = Source::new(client, self.cool_down, Some(feed));
        let guard = Guard::with_source(self, source);
        feed::start(&guard, state, followers_client, credentials, max_staleness)?;
        Ok(guard)
    }
}

impl Guard {
    /// Fetches the issuer's keys, or waits for the fetch that is under way; within the cool-down it does neither. Says
    /// whether there are keys now. A service may call it at its start, so that the first request need not wait.
    pub async fn fetch_keys(&self) -> bool {
        let Some(source) = self.source() else { return true };
        source.fetch(self).await;
        !source.never_reached()
    }

    /// One fetch, and whether it went well. Only when the new keys are whole do they take the place of the old ones.
    async fn fetch_once(self, freshness: Freshness) -> bool {
        let Some(source) = self.source() else { return false };
        let began_at = self.now();
        let fetched = match source.client.fetch(freshness).await {
            Ok((set, max_age)) => self.take(&set).map(|()| max_age).map_err(http::FetchError::from),
            Err(error) => Err(error),
        };
        match &fetched {
            Ok(max_age) => {
                tracing::debug!(issuer = self.issuer(), "fetched the keys of the issuer");
                source.succeeded(began_at, max_age.unwrap_or(DEFAULT_AGE).min(MAX_AGE));
            }
            Err(error) => {
                let has_keys = !source.never_reached();
                tracing::warn!(issuer = self.issuer(), %error, has_keys, "could not fetch the keys of the issuer");
            }
        }
        source.landed(self.now(), fetched.is_err());
        fetched.is_ok()
    }

    fn take(&self, set: &JwkSet) -> Result<(), KeyError> {
        self.swap(|before| {
            let keys = Keys::of(set, before)?;
            if keys.is_empty() { Err(KeyError::Empty) } else { Ok(keys) }
        })
    }
}

/// Where keys come from, and how fresh they are.
pub(crate) struct Source {
    client: http::Client,
    cool_down: i64,
    reached: AtomicBool,
    /// When the keys were fetched and for how long they are good.
    fetched_at: AtomicI64,
    max_age: AtomicI64,
    /// Held for a few assignments, never while anything is fetched.
    state: Mutex<State>,
    /// How following the issuer's revocations goes; none where that is not wanted.
    feed: Option<Feed>,
}

/// Which keys a fetch is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// Those that a cache on the way may still have, and within the cool-down none.
    Usual,
    /// Those that the issuer has now, whatever the cool-down says.
    Now,
}

#[derive(Default)]
struct State {
    /// The fetch that is under way: its sender is dropped when it is over, and the value says whether it went well.
    flight: Option<watch::Receiver<bool>>,
    attempted_at: Option<i64>,
    /// When the last fetch ended, if it failed.
    failed_at: Option<i64>,
}

impl Source {
    fn new(client: http::Client, cool_down: u32, feed: Option<Feed>) -> Self {
        Self {
            client,
            cool_down: cool_down.into(),
            reached: AtomicBool::new(false),
            fetched_at: AtomicI64::new(0),
            max_age: AtomicI64::new(0),
            state: Mutex::default(),
            feed,
        }
    }

    pub(crate) fn never_reached(&self) -> bool {
        !self.reached.load(Ordering::Acquire)
    }

    /// Whether the keys should be fetched again.
    pub(crate) fn is_stale(&self, now: i64) -> bool {
        self.is_older_than(self.max_age.load(Ordering::Relaxed), now)
    }

    /// Whether the keys are this old. A clock that was put back makes them old, not fresh for longer.
    fn is_older_than(&self, seconds: i64, now: i64) -> bool {
        let age = now.saturating_sub(self.fetched_at.load(Ordering::Relaxed));
        !(0..seconds).contains(&age)
    }

    /// Starts a fetch in the background, unless one is under way or the cool-down forbids it, and returns whether a request
    /// should [wait](Self::wait_for_keys) for it. A token with an unknown key (`urgent`) has to. A good token has to if the
    /// keys are too stale, unless the last fetch failed a short time ago.
    pub(crate) fn is_worth_waiting_for(&self, guard: &Guard, now: i64, urgent: bool) -> bool {
        let is_under_way = self.start(guard, now, Freshness::Usual).is_some();
        is_under_way && (urgent || (self.is_too_stale(now) && !self.failed_lately(now)))
    }

    fn is_too_stale(&self, now: i64) -> bool {
        self.is_older_than(self.max_age.load(Ordering::Relaxed).saturating_add(STALE_WHILE_REVALIDATE), now)
    }

    fn failed_lately(&self, now: i64) -> bool {
        self.state().failed_at.is_some_and(|at| (0..STALE_WHILE_REVALIDATE).contains(&now.saturating_sub(at)))
    }

    /// Waits for new keys: until the fetch is over (`urgent`), or else no longer than [`REVALIDATION_WAIT`], after which the
    /// old ones count as they do while the issuer is away.
    pub(crate) async fn wait_for_keys(&self, guard: &Guard, urgent: bool) {
        if urgent {
            self.fetch(guard).await;
        } else {
            // In time or not: the next look at the token tells.
            tokio::time::timeout(REVALIDATION_WAIT, self.fetch(guard)).await.ok();
        }
    }

    /// Waits for the fetch that is under way, or for one that begins now; within the cool-down there is none.
    async fn fetch(&self, guard: &Guard) {
        if let Some(flight) = self.start(guard, guard.now(), Freshness::Usual) {
            landing(flight).await;
        }
    }

    /// Fetches the keys that the issuer has now, and says whether that went well.
    async fn fetch_anew(&self, guard: &Guard) -> bool {
        // One that is under way may have asked before the keys changed; one that begins after it did not.
        let under_way = self.state().flight.clone();
        if let Some(flight) = under_way {
            landing(flight).await;
        }
        match self.start(guard, guard.now(), Freshness::Now) {
            Some(flight) => landing(flight).await,
            None => false,
        }
    }

    /// Whether the first news of revocations are on their way: they are not known yet, and no attempt has failed.
    pub(crate) fn hears_soon(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::hears_soon)
    }

    /// Whether revocations are followed, and the last attempt to hear them failed.
    pub(crate) fn fails_to_follow(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::is_failing)
    }

    /// Waits for the first news of revocations, or for a failure, but not for long.
    pub(crate) async fn first_hearing(&self) {
        if let Some(feed) = &self.feed {
            // In time or not: the next look at the token tells.
            tokio::time::timeout(FIRST_HEARING, feed.first_hearing()).await.ok();
        }
    }

    /// Seconds until the next attempt may be made, at least one.
    pub(crate) fn retry_after(&self, now: i64) -> u32 {
        let left = self.state().attempted_at.map_or(1, |at| at.saturating_add(self.cool_down).saturating_sub(now));
        u32::try_from(left.clamp(1, self.cool_down)).unwrap_or(1)
    }

    /// Joins the fetch that is under way or begins one; none within the cool-down, unless the keys must be those of now.
    fn start(&self, guard: &Guard, now: i64, freshness: Freshness) -> Option<watch::Receiver<bool>> {
        let mut state = self.state();
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        let since = state.attempted_at.map(|at| now.saturating_sub(at));
        if freshness == Freshness::Usual && since.is_some_and(|since| (0..self.cool_down).contains(&since)) {
            return None;
        }
        let (landed, flight) = watch::channel(false);
        state.attempted_at = Some(now);
        state.flight = Some(flight.clone());
        let guard = guard.clone();
        // A task of its own: a client that goes away does not end the fetch for the others that wait for it.
        tokio::spawn(async move {
            landed.send_replace(guard.fetch_once(freshness).await);
        });
        Some(flight)
    }

    fn succeeded(&self, fetched_at: i64, max_age: i64) {
        self.fetched_at.store(fetched_at, Ordering::Relaxed);
        self.max_age.store(max_age, Ordering::Relaxed);
        self.reached.store(true, Ordering::Release);
    }

    fn landed(&self, now: i64, failed: bool) {
        *self.state() = State { flight: None, attempted_at: Some(now), failed_at: failed.then_some(now) };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is done under the lock cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a fetch is over, and says whether it went well.
async fn landing(mut flight: watch::Receiver<bool>) -> bool {
    // An error is the news: it says that the sender is gone.
    while flight.changed().await.is_ok() {}
    *flight.borrow()
}

#[cfg(test)]
mod tests;
