//! Verifying API keys by introspection: the cache of verdicts, single-flight, and what happens while the issuer is
//! unreachable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use reqwest::Url;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    http::{Client, FetchError},
    page::Credentials,
    trace::in_trace,
};
use crate::{
    ApiKeyError, AuthenticateError, Claims, Guard,
    api_key::is_well_formed,
    remembered::{Digest, Remembered},
};

/// For how many seconds an accepted key is accepted again without asking.
const MAX_AGE: i64 = 30;
/// For how many seconds a refused key is refused again without asking. Short: the owner may have been enabled meanwhile.
const MAX_AGE_REFUSED: i64 = 5;
/// The maximum number of cached verdicts of each kind.
const CACHED: usize = 10_000;
/// The maximum number of concurrent introspections; others wait for one of them to end.
const CONCURRENT: usize = 16;
/// The maximum number of keys that are asked about or wait for that. More are answered with 503.
const MAX_FLIGHTS: usize = 512;
/// The maximum time from the start of a flight to its verdict.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For how many seconds after a failure the issuer is not asked.
const COOL_DOWN: i64 = 2;
/// How often a request asks if the key is revoked while the issuer answers.
const ATTEMPTS: usize = 3;

type Verdict = Result<Arc<Claims>, ApiKeyError>;

/// The API keys that the guard knows. They are cached by their SHA-256.
pub(super) struct ApiKeys {
    credentials: Credentials,
    accepted: Cache<Digest, Known>,
    /// Separate: invented keys must not evict accepted ones.
    refused: Cache<Digest, Known>,
    permits: Semaphore,
    /// Locked for a few assignments only, never during a request.
    state: Mutex<State>,
}

/// The issuer's verdict on a key.
#[derive(Clone)]
struct Known {
    verdict: Verdict,
    /// When the issuer was asked.
    asked_at: i64,
    /// The last update of the revocations before the issuer was asked. A later one may say that the verdict is outdated,
    /// even if it arrived before the verdict.
    update: u64,
}

/// The result of an introspection, once it has ended. `None`: the issuer did not answer.
type Landing = Option<Option<Known>>;

#[derive(Default)]
struct State {
    /// The keys that the issuer is being asked about.
    flights: HashMap<Digest, watch::Receiver<Landing>>,
    /// The URL for introspection, once it was read from the metadata.
    endpoint: Option<Url>,
    /// When the last introspection ended, if it failed.
    failed_at: Option<i64>,
}

impl Known {
    /// Returns whether the verdict still counts, however old it is.
    fn is_current(&self, guard: &Guard) -> bool {
        self.verdict.as_ref().map_or(true, |claims| !guard.has_news_of_key(claims, self.update))
    }

    fn is_fresh(&self, now: i64) -> bool {
        let max_age = if self.verdict.is_ok() { MAX_AGE } else { MAX_AGE_REFUSED };
        // A clock that is set back makes it old, as it does with the issuer's keys.
        (0..max_age).contains(&now.saturating_sub(self.asked_at))
    }

    fn verdict_at(self, now: i64) -> Verdict {
        self.verdict.and_then(|claims| if claims.exp <= now { Err(ApiKeyError::Expired) } else { Ok(claims) })
    }
}

impl ApiKeys {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            accepted: Cache::new(CACHED),
            refused: Cache::new(CACHED),
            permits: Semaphore::new(CONCURRENT),
            state: Mutex::default(),
        }
    }

    /// Verifies a key without waiting. `None`: the issuer must be asked.
    #[cfg(feature = "actix")]
    pub(super) fn at_once(&self, guard: &Guard, key: &str) -> Option<Verdict> {
        if is_well_formed(key) {
            self.cached(guard, &Remembered::digest(key))
        } else {
            Some(Err(ApiKeyError::Malformed))
        }
    }

    /// Verifies a key, and asks the issuer if necessary.
    pub(super) async fn verify(&self, guard: &Guard, key: &str) -> Result<Arc<Claims>, AuthenticateError> {
        if !is_well_formed(key) {
            return Err(ApiKeyError::Malformed.into());
        }
        let digest = Remembered::digest(key);
        for _ in 0..ATTEMPTS {
            if let Some(verdict) = self.cached(guard, &digest) {
                return Ok(verdict?);
            }
            let mut flight = self.start(guard, key, digest)?;
            // An error means that the task has ended without a verdict, with its runtime.
            let landed = flight.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone().flatten());
            let known = landed.ok_or(AuthenticateError::Unavailable { retry_after: 1 })?;
            // Not `is_fresh`: it is as new as this request needs.
            if known.is_current(guard) {
                return Ok(known.verdict_at(guard.now())?);
            }
        }
        Err(AuthenticateError::Unavailable { retry_after: 1 })
    }

    fn cached(&self, guard: &Guard, digest: &Digest) -> Option<Verdict> {
        let now = guard.now();
        let known = [&self.accepted, &self.refused].into_iter().find_map(|cache| cache.get(digest))?;
        if known.is_fresh(now) && known.is_current(guard) {
            return Some(known.verdict_at(now));
        }
        None
    }

    /// Joins the running introspection of a key or starts one (single-flight).
    fn start(&self, guard: &Guard, key: &str, digest: Digest) -> Result<watch::Receiver<Landing>, AuthenticateError> {
        let mut state = self.state();
        // A sender that was dropped without a verdict belonged to a runtime that has ended.
        if let Some(flight) = state.flights.get(&digest).filter(|flight| flight.has_changed().is_ok()) {
            return Ok(flight.clone());
        }
        if let Some(retry_after) = state.cool_down(guard.now()) {
            return Err(AuthenticateError::Unavailable { retry_after });
        }
        if state.flights.len() >= MAX_FLIGHTS {
            state.flights.retain(|_, flight| flight.has_changed().is_ok());
            if state.flights.len() >= MAX_FLIGHTS {
                return Err(AuthenticateError::Unavailable { retry_after: 1 });
            }
        }
        let (landed, flight) = watch::channel(None);
        state.flights.insert(digest, flight.clone());
        let (guard, key) = (guard.clone(), key.to_owned());
        // A task of its own: a request that is dropped must not cancel the introspection for the others that wait for it.
        tokio::spawn(in_trace(async move {
            landed.send_replace(Some(guard.introspect(&key, digest).await));
        }));
        Ok(flight)
    }

    /// Asks the issuer. `None`: another introspection has failed while this one waited for its turn.
    async fn ask(&self, guard: &Guard, client: &Client, key: &str) -> Result<Option<Known>, FetchError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        if self.state().cool_down(guard.now()).is_some() {
            return Ok(None);
        }
        // Before the request: a revocation that arrives from now on may be newer than the answer.
        let (asked_at, update) = (guard.now(), guard.last_update());
        let endpoint = self.state().endpoint.clone();
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => client.introspection_endpoint().await?,
        };
        let answer = client.introspect(&endpoint, &self.credentials, key).await?;
        self.state().endpoint = Some(endpoint);
        Ok(Some(Known { verdict: answer.verdict(guard), asked_at, update }))
    }

    /// Ends a flight: notes its result for later requests.
    fn land(&self, guard: &Guard, digest: &Digest, asked: Result<Option<Known>, FetchError>) -> Option<Known> {
        if let Ok(Some(known)) = &asked {
            let (to, from) =
                if known.verdict.is_ok() { (&self.accepted, &self.refused) } else { (&self.refused, &self.accepted) };
            to.insert(*digest, known.clone());
            from.remove(digest);
        }
        let mut state = self.state();
        // After the caches: in between, a request would ask once more.
        state.flights.remove(digest);
        match asked {
            Ok(Some(known)) => {
                state.failed_at = None;
                Some(known)
            }
            Ok(None) => None,
            Err(error) => {
                if state.failed_at.replace(guard.now()).is_none() {
                    tracing::warn!(issuer = guard.issuer(), %error, "API keys cannot be verified");
                }
                // It may have moved: the metadata is read again.
                state.endpoint = None;
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is safe to use: no code under it can panic with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the seconds for which the issuer is not asked after a failure.
    fn cool_down(&self, now: i64) -> Option<u32> {
        let since = now.saturating_sub(self.failed_at?);
        if (0..COOL_DOWN).contains(&since) { u32::try_from(COOL_DOWN - since).ok() } else { None }
    }
}

impl Guard {
    /// Asks the issuer about a key. `None`: it did not answer.
    async fn introspect(self, key: &str, digest: Digest) -> Option<Known> {
        let source = self.source()?;
        let api_keys = source.api_keys.as_ref()?;
        let asked = timeout(TIMEOUT, api_keys.ask(&self, &source.client, key)).await;
        api_keys.land(&self, &digest, asked.unwrap_or(Err(FetchError::Timeout(TIMEOUT))))
    }
}

#[cfg(test)]
mod tests;
