//! Fetching keys and revocations from the issuer: the schedule, single-flight, back-off, and what is used while it is
//! unreachable.

mod api_keys;
#[cfg(test)]
pub(crate) mod fake;
mod feed;
mod http;
mod introspection;
mod page;
mod trace;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::watch;

pub(crate) use self::page::Credentials;
use self::{api_keys::ApiKeys, feed::Feed};
use crate::{ApiKeyError, AuthenticateError, BuildError, Claims, Guard, GuardBuilder, KeyError, keys::Keys};

/// The maximum age of keys in seconds, whatever the issuer allows: a withdrawn key must not be used for longer.
const MAX_AGE: i64 = 3600;
/// The maximum age of keys in seconds if the issuer sets none.
const DEFAULT_AGE: i64 = 300;
/// For how many seconds stale keys are still used without waiting, while they are fetched in the background (RFC 5861).
/// After that, a request waits for the fetch: if there was no request for long, the keys may have been withdrawn long
/// ago.
const STALE_WHILE_REVALIDATE: i64 = 300;
/// How long a request with a valid token waits for a fetch that replaces such stale keys.
const REVALIDATION_WAIT: Duration = Duration::from_secs(1);
/// The default for the maximum staleness of revocations: the default lifetime of grantd's access tokens.
const MAX_STALENESS: Duration = Duration::from_mins(15);
/// How long a request waits for the first revocations. After a longer wait, many clients have timed out.
const FIRST_UPDATE: Duration = Duration::from_secs(5);

impl GuardBuilder {
    /// Sets the cool-down, the least number of seconds between two attempts to fetch keys: tokens with invented key ids
    /// cannot cause more requests to the issuer. Default: 10.
    pub fn cool_down(mut self, seconds: u32) -> Self {
        self.cool_down = seconds;
        self
    }

    /// Allows plain HTTP to other hosts than loopback. An attacker who can modify the traffic can then forge tokens, and
    /// one who can read it gets API keys, and the client secret of [`GuardBuilder::follow_revocations`]. Only for trusted
    /// networks.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Follows the issuer's revocations as this confidential client of the issuer: the guard polls the feed on a thread
    /// of its own (long polling), and refuses revoked tokens within moments instead of when they expire.
    ///
    /// No token is accepted before the whole feed was read once, nor without an update for longer than
    /// [`max_staleness`](GuardBuilder::max_staleness), by default 15 minutes. (A long poll takes 20 seconds, or a third
    /// of that time if it is less: with much less than a minute, a short disturbance is enough to refuse tokens.)
    /// [`Guard::health`] returns the state. The thread ends when the last clone of the guard is dropped.
    pub fn follow_revocations(mut self, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        self.follow = Some(Credentials::new(client_id.into(), client_secret.into()));
        self
    }

    /// Accepts API keys (`grk_…`) of the issuer's users, in `X-API-Key` or as a bearer token. The issuer verifies them
    /// (RFC 7662), asked by the client of [`GuardBuilder::follow_revocations`], which this needs. A key must have one of
    /// this guard's audiences, and the client, too, unless it has the scope `tokens:introspect`.
    ///
    /// A verdict is cached for at most 30 seconds: so long may a key keep a scope that its owner has lost. It is dropped
    /// as soon as the feed has a revocation of the key or its owner. A key with a wrong checksum is refused without a
    /// request to the issuer. While the issuer is unreachable, cached verdicts count, and the response for other keys is
    /// 503.
    pub fn accept_api_keys(mut self) -> Self {
        self.accept_api_keys = true;
        self
    }

    /// Builds a guard that fetches its keys by the issuer's metadata (RFC 8414) and JWK set (RFC 7517), at the latest for
    /// the first token.
    pub fn build(mut self) -> Result<Guard, BuildError> {
        self.check()?;
        if self.cool_down == 0 {
            return Err(BuildError::CoolDown);
        }
        // No idle connections: a connection belongs to the runtime that opened it, which may have ended before the next
        // fetch.
        let client = http::Client::new(&self.issuer, self.allow_http, 0)?;
        let Some(credentials) = self.follow.take() else {
            if self.accept_api_keys {
                return Err(BuildError::CannotIntrospect);
            }
            let source = Source::new(client, self.cool_down, None, None);
            return Ok(Guard::with_source(self, source));
        };
        let max_staleness = *self.max_staleness.get_or_insert(MAX_STALENESS);
        // The follower has a runtime of its own, so its connection can be reused.
        let followers_client = http::Client::new(&self.issuer, self.allow_http, 1)?;
        let feed = Feed::default();
        let state = feed.subscribe();
        let api_keys = self.accept_api_keys.then(|| ApiKeys::new(credentials.clone()));
        let source = Source::new(client, self.cool_down, Some(feed), api_keys);
        let guard = Guard::with_source(self, source);
        feed::start(&guard, state, followers_client, credentials, max_staleness)?;
        Ok(guard)
    }
}

impl Guard {
    /// Fetches the issuer's keys, or waits for a running fetch; within the cool-down it does nothing. Returns whether the
    /// guard has keys. A service may call it at its start, so that the first request does not wait.
    pub async fn fetch_keys(&self) -> bool {
        let Some(source) = self.source() else { return true };
        source.fetch(self).await;
        !source.never_reached()
    }

    /// Fetches the keys once, and returns whether it succeeded. A failure keeps the present keys.
    async fn fetch_once(self, freshness: Freshness) -> bool {
        let Some(source) = self.source() else { return false };
        // The age counts from the start of the fetch: the keys are not newer than that.
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
            // A failure, which keeps the present keys: an issuer without any usable key is misconfigured, and every token
            // would be refused.
            if keys.is_empty() { Err(KeyError::Empty) } else { Ok(keys) }
        })
    }
}

/// The source of the keys, and their age.
pub(crate) struct Source {
    client: http::Client,
    cool_down: i64,
    reached: AtomicBool,
    /// When the keys were fetched, and for how many seconds they are fresh.
    fetched_at: AtomicI64,
    max_age: AtomicI64,
    /// Locked for a few assignments only, never during a fetch.
    state: Mutex<State>,
    /// The state of the follower of revocations; `None`: revocations are not followed.
    feed: Option<Feed>,
    /// `None`: API keys are not accepted.
    api_keys: Option<ApiKeys>,
}

/// The freshness that a fetch requires.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// A cached response is enough, and the cool-down applies.
    Usual,
    /// The present keys of the issuer, past caches and the cool-down.
    Now,
}

#[derive(Default)]
struct State {
    /// The running fetch. Its sender is dropped at the end; the value tells whether the fetch succeeded.
    flight: Option<watch::Receiver<bool>>,
    attempted_at: Option<i64>,
    /// When the last fetch ended, if it failed.
    failed_at: Option<i64>,
}

impl Source {
    fn new(client: http::Client, cool_down: u32, feed: Option<Feed>, api_keys: Option<ApiKeys>) -> Self {
        Self {
            client,
            cool_down: cool_down.into(),
            reached: AtomicBool::new(false),
            fetched_at: AtomicI64::new(0),
            max_age: AtomicI64::new(0),
            state: Mutex::default(),
            feed,
            api_keys,
        }
    }

    pub(crate) fn never_reached(&self) -> bool {
        !self.reached.load(Ordering::Acquire)
    }

    /// Returns whether the keys should be fetched again.
    pub(crate) fn is_stale(&self, now: i64) -> bool {
        self.is_older_than(self.max_age.load(Ordering::Relaxed), now)
    }

    /// Returns whether the keys are at least this old. A clock that is set back makes them old: a negative age must not
    /// keep them fresh.
    fn is_older_than(&self, seconds: i64, now: i64) -> bool {
        let age = now.saturating_sub(self.fetched_at.load(Ordering::Relaxed));
        !(0..seconds).contains(&age)
    }

    /// Starts a fetch in the background, unless one is running or the cool-down forbids it, and returns whether a request
    /// should [wait](Self::wait_for_keys) for it. It should if its token has an unknown key (`urgent`), or if the keys
    /// are too stale and the last fetch did not fail a short time ago.
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

    /// Waits for new keys: until the end of the fetch (`urgent`), or for at most [`REVALIDATION_WAIT`]. After that, the
    /// stale keys are used, as while the issuer is unreachable.
    pub(crate) async fn wait_for_keys(&self, guard: &Guard, urgent: bool) {
        if urgent {
            self.fetch(guard).await;
        } else {
            // The result does not matter: the caller verifies the token again.
            tokio::time::timeout(REVALIDATION_WAIT, self.fetch(guard)).await.ok();
        }
    }

    /// Waits for the running fetch, or starts one; within the cool-down it does nothing.
    async fn fetch(&self, guard: &Guard) {
        if let Some(flight) = self.start(guard, guard.now(), Freshness::Usual) {
            landing(flight).await;
        }
    }

    /// Fetches the present keys of the issuer, and returns whether it succeeded.
    async fn refetch(&self, guard: &Guard) -> bool {
        // A running fetch may have started before the keys changed, so its result is not enough. One that starts after it
        // is.
        let under_way = self.state().flight.clone();
        if let Some(flight) = under_way {
            landing(flight).await;
        }
        match self.start(guard, guard.now(), Freshness::Now) {
            Some(flight) => landing(flight).await,
            None => false,
        }
    }

    /// Returns whether the first revocations are still expected: they were not read yet, and no attempt has failed.
    pub(crate) fn expects_first_update(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::expects_first_update)
    }

    /// Returns whether revocations are followed and the last attempt to read them failed.
    pub(crate) fn fails_to_follow(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::is_failing)
    }

    /// Waits for the first revocations or a failure, for at most [`FIRST_UPDATE`].
    pub(crate) async fn first_update(&self) {
        if let Some(feed) = &self.feed {
            // The result does not matter: the caller verifies the token again.
            tokio::time::timeout(FIRST_UPDATE, feed.first_update()).await.ok();
        }
    }

    #[cfg(any(feature = "actix", feature = "axum"))]
    pub(crate) fn accepts_api_keys(&self) -> bool {
        self.api_keys.is_some()
    }

    /// Verifies an API key, and asks the issuer if necessary.
    pub(crate) async fn verify_api_key(&self, guard: &Guard, key: &str) -> Result<Arc<Claims>, AuthenticateError> {
        match &self.api_keys {
            Some(api_keys) => api_keys.verify(guard, key).await,
            None => Err(ApiKeyError::NotAccepted.into()),
        }
    }

    /// Verifies an API key without waiting. `None`: the issuer must be asked.
    #[cfg(feature = "actix")]
    pub(crate) fn verdict_on_api_key(
        &self,
        guard: &Guard,
        key: &str,
    ) -> Option<Result<Arc<Claims>, AuthenticateError>> {
        let verdict = match &self.api_keys {
            Some(api_keys) => api_keys.at_once(guard, key)?,
            None => Err(ApiKeyError::NotAccepted),
        };
        Some(verdict.map_err(AuthenticateError::from))
    }

    /// Returns the seconds until the next attempt is allowed, at least one.
    pub(crate) fn retry_after(&self, now: i64) -> u32 {
        let left = self.state().attempted_at.map_or(1, |at| at.saturating_add(self.cool_down).saturating_sub(now));
        u32::try_from(left.clamp(1, self.cool_down)).unwrap_or(1)
    }

    /// Joins the running fetch or starts one (single-flight). `None`: the cool-down forbids it.
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
        // A task of its own: a request that is dropped must not cancel the fetch for the others that wait for it.
        tokio::spawn(trace::in_trace(async move {
            landed.send_replace(guard.fetch_once(freshness).await);
        }));
        Some(flight)
    }

    fn succeeded(&self, fetched_at: i64, max_age: i64) {
        self.fetched_at.store(fetched_at, Ordering::Relaxed);
        self.max_age.store(max_age, Ordering::Relaxed);
        // Last: a reader that sees it must see the times of the fetch too.
        self.reached.store(true, Ordering::Release);
    }

    fn landed(&self, now: i64, failed: bool) {
        // The cool-down starts again: after a slow fetch it would be over already, and the next token would cause another.
        *self.state() = State { flight: None, attempted_at: Some(now), failed_at: failed.then_some(now) };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is safe to use: no code under it can panic with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of a fetch, and returns whether it succeeded.
async fn landing(mut flight: watch::Receiver<bool>) -> bool {
    // An error means that the sender was dropped: the fetch has ended.
    while flight.changed().await.is_ok() {}
    *flight.borrow()
}

#[cfg(test)]
mod tests;
