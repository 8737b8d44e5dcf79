//! Keys that come from the issuer: when they are fetched, and what holds while they cannot be.

#[cfg(test)]
pub(crate) mod fake;
mod http;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::watch;

use crate::{BuildError, Guard, GuardBuilder, KeyError, keys::Keys};

/// The longest that keys are used without asking again, in seconds, so that a key that was withdrawn goes.
const MAX_AGE: i64 = 3600;
/// How long keys are used where the issuer does not say.
const DEFAULT_AGE: i64 = 300;

impl GuardBuilder {
    /// Seconds between two attempts to fetch keys, failed ones too, whatever tokens come: nobody makes this service
    /// pester the issuer by inventing key ids. Default: 10.
    pub fn cool_down(mut self, seconds: u32) -> Self {
        self.cool_down = seconds;
        self
    }

    /// Fetches keys over plain HTTP also from hosts that are not this one. Whoever can change what is on the way can then
    /// sign tokens: for networks that are trusted as a whole.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// A guard that fetches its keys from the issuer's metadata (RFC 8414) and JWK set (RFC 7517) when the first token comes.
    pub fn build(self) -> Result<Guard, BuildError> {
        self.check()?;
        if self.cool_down == 0 {
            return Err(BuildError::CoolDown);
        }
        let source = Source::new(http::Client::new(&self.issuer, self.allow_http)?, self.cool_down);
        Ok(Guard::with_source(self, source))
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

    /// One fetch. Only when the new keys are whole do they take the place of the old ones.
    async fn fetch_once(self) {
        let Some(source) = self.source() else { return };
        let began_at = self.now();
        let fetched = match source.client.fetch().await {
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
}

#[derive(Default)]
struct State {
    /// The fetch that is under way: its sender is dropped when it is over.
    flight: Option<watch::Receiver<()>>,
    attempted_at: Option<i64>,
    failing: bool,
}

impl Source {
    fn new(client: http::Client, cool_down: u32) -> Self {
        Self {
            client,
            cool_down: cool_down.into(),
            reached: AtomicBool::new(false),
            fetched_at: AtomicI64::new(0),
            max_age: AtomicI64::new(0),
            state: Mutex::default(),
        }
    }

    pub(crate) fn never_reached(&self) -> bool {
        !self.reached.load(Ordering::Acquire)
    }

    /// Whether the keys are older than they may be. A clock that was put back makes them stale, not fresh for longer.
    pub(crate) fn is_stale(&self, now: i64) -> bool {
        let age = now.saturating_sub(self.fetched_at.load(Ordering::Relaxed));
        !(0..self.max_age.load(Ordering::Relaxed)).contains(&age)
    }

    /// Sees to it that keys are fetched, where that may be, and says whether a request should wait for them: one that
    /// cannot be judged without them (`urgent`) should, and others as long as the issuer is not known to be away.
    pub(crate) fn is_worth_waiting_for(&self, guard: &Guard, now: i64, urgent: bool) -> bool {
        self.start(guard, now).is_some() && (urgent || !self.state().failing)
    }

    /// Waits for the fetch that is under way, or for one that begins now; within the cool-down there is none.
    pub(crate) async fn fetch(&self, guard: &Guard) {
        if let Some(mut flight) = self.start(guard, guard.now()) {
            // An error is the news: it says that the sender is gone, and the fetch over.
            while flight.changed().await.is_ok() {}
        }
    }

    /// Seconds until the next attempt may be made, at least one.
    pub(crate) fn retry_after(&self, now: i64) -> u32 {
        let left = self.state().attempted_at.map_or(1, |at| at.saturating_add(self.cool_down).saturating_sub(now));
        u32::try_from(left.clamp(1, self.cool_down)).unwrap_or(1)
    }

    /// Joins the fetch that is under way or begins one; none within the cool-down.
    fn start(&self, guard: &Guard, now: i64) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        let since = state.attempted_at.map(|at| now.saturating_sub(at));
        if since.is_some_and(|since| (0..self.cool_down).contains(&since)) {
            return None;
        }
        let (landed, flight) = watch::channel(());
        state.attempted_at = Some(now);
        state.flight = Some(flight.clone());
        let guard = guard.clone();
        // A task of its own: a client that goes away does not end the fetch for the others that wait for it.
        tokio::spawn(async move {
            guard.fetch_once().await;
            drop(landed);
        });
        Some(flight)
    }

    fn succeeded(&self, fetched_at: i64, max_age: i64) {
        self.fetched_at.store(fetched_at, Ordering::Relaxed);
        self.max_age.store(max_age, Ordering::Relaxed);
        self.reached.store(true, Ordering::Release);
    }

    fn landed(&self, now: i64, failing: bool) {
        *self.state() = State { flight: None, attempted_at: Some(now), failing };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is done under the lock cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
