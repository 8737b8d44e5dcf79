//! Passwords that were verified a moment ago. HTTP Basic sends the password with each request, and a hash for each would
//! take all cores.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;
use tokio::sync::OnceCell;

use crate::{
    ids::UserId,
    secret::{self, NoRandomness, Password},
};

/// How long a password is remembered.
const TTL: TimeDelta = TimeDelta::seconds(60);
/// The maximum number of remembered passwords, which bounds the memory.
const CAPACITY: usize = 10_000;

/// The MAC of a name and a password, under a key of this process: memory and core dumps have no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair([u8; 32]);

/// A verified password.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) user: UserId,
    /// The hash that the password was verified against. With another one, the password was changed.
    pub(crate) password_hash: String,
    until: DateTime<Utc>,
}

/// The passwords that this server verified a moment ago.
pub struct Remembered {
    key: hmac::Key,
    verified: Cache<Pair, Arc<Verified>>,
    /// The verifications that are running. Each has a request that waits for it, which bounds the number.
    running: Mutex<HashMap<Pair, Running>>,
}

/// The result of a verification, for the requests that waited for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The pair is remembered.
    Right,
    /// The pair is wrong. The text is for the log.
    Wrong(&'static str),
    /// The pair is right, and the user is disabled.
    Disabled,
    /// It could not be verified.
    Failed,
}

/// A verification that is running.
#[derive(Debug)]
struct Running {
    outcome: Arc<OnceCell<Outcome>>,
    /// The number of requests that share it.
    requests: usize,
}

/// The share of a request in the verification of a pair. Dropping it does not cancel the verification for the others.
pub(crate) struct Shared<'a> {
    remembered: &'a Remembered,
    pair: Pair,
    outcome: Arc<OnceCell<Outcome>>,
}

impl Shared<'_> {
    /// Verifies the pair with `verify`, or waits for the request that does. If that request is dropped, the next one
    /// verifies.
    pub(crate) async fn outcome(&self, verify: impl AsyncFnOnce() -> Outcome) -> Outcome {
        *self.outcome.get_or_init(|| verify()).await
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut running = self.remembered.running();
        // Another one of the same pair may have replaced it.
        let own = running.get_mut(&self.pair).filter(|own| Arc::ptr_eq(&own.outcome, &self.outcome));
        let Some(own) = own else { return };
        own.requests -= 1;
        if own.requests == 0 {
            running.remove(&self.pair);
        }
    }
}

impl Remembered {
    /// Returns an empty memory with a random key.
    pub fn start() -> Result<Self, NoRandomness> {
        let key: [u8; 32] = secret::random()?;
        let (key, verified) = (hmac::Key::new(hmac::HMAC_SHA256, &key), Cache::new(CAPACITY));
        Ok(Self { key, verified, running: Mutex::default() })
    }

    /// Returns the key under which a name and a password are remembered, for requests from one address. From others, they are
    /// attempts like any other: an answer from memory would tell a guesser elsewhere, without a limit, that a guess is right.
    pub(crate) fn pair(&self, name: &str, password: &Password, address: Option<&str>) -> Pair {
        let mut mac = hmac::Context::with_key(&self.key);
        // The lengths separate them: otherwise `ab` + `c` would equal `a` + `bc`.
        mac.update(&name.len().to_be_bytes());
        mac.update(name.to_ascii_lowercase().as_bytes());
        let address = address.unwrap_or_default();
        mac.update(&address.len().to_be_bytes());
        mac.update(address.as_bytes());
        mac.update(password.as_bytes());
        let mut pair = [0; 32];
        pair.copy_from_slice(mac.sign().as_ref());
        Pair(pair)
    }

    /// Returns what was verified for a pair. The caller checks that the user still has this hash and this name.
    pub(crate) fn get(&self, pair: &Pair, now: DateTime<Utc>) -> Option<Arc<Verified>> {
        self.verified.get(pair).filter(|verified| now < verified.until)
    }

    /// Remembers a verified pair.
    pub(crate) fn insert(&self, pair: Pair, user: UserId, password_hash: &str, now: DateTime<Utc>) {
        let password_hash = password_hash.to_owned();
        self.verified.insert(pair, Arc::new(Verified { user, password_hash, until: now + TTL }));
    }

    /// Forgets what was verified for a pair, unless it has been verified again since.
    pub(crate) fn forget(&self, pair: &Pair, verified: &Arc<Verified>) {
        self.verified.remove_if(pair, |current| Arc::ptr_eq(current, verified));
    }

    /// Joins the verification of a pair that is running, or begins one: many requests at once with a pair that is not
    /// remembered need one hash.
    pub(crate) fn share(&self, pair: Pair) -> Shared<'_> {
        let mut running = self.running();
        let begin = || Running { outcome: Arc::default(), requests: 0 };
        let shared = running.entry(pair).or_insert_with(begin);
        // One that has ended is not joined: its outcome may be outdated.
        if shared.outcome.initialized() {
            *shared = begin();
        }
        shared.requests += 1;
        let outcome = Arc::clone(&shared.outcome);
        drop(running);
        Shared { remembered: self, pair, outcome }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Pair, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        task::Poll,
    };

    use super::*;

    async fn never() -> Outcome {
        unreachable!("another request verifies")
    }

    #[tokio::test]
    async fn a_verification_is_shared_while_it_runs() {
        let remembered = Remembered::start().unwrap();
        let pair = Pair([1; 32]);
        let (first, second, other) = (remembered.share(pair), remembered.share(pair), remembered.share(Pair([2; 32])));
        let (first_outcome, second_outcome) = tokio::join!(
            first.outcome(async || {
                tokio::task::yield_now().await;
                Outcome::Wrong("a wrong password")
            }),
            second.outcome(never),
        );
        assert!(matches!((first_outcome, second_outcome), (Outcome::Wrong(_), Outcome::Wrong(_))));
        assert!(matches!(other.outcome(async || Outcome::Disabled).await, Outcome::Disabled));
        // It has ended: the next request verifies again, also while others still hold the old outcome.
        let next = remembered.share(pair);
        drop((first, second, other));
        assert!(matches!(next.outcome(async || Outcome::Right).await, Outcome::Right));
        drop(next);
        assert!(remembered.running().is_empty());
    }

    #[tokio::test]
    async fn the_next_request_verifies_if_the_first_is_dropped() {
        let remembered = Remembered::start().unwrap();
        let pair = Pair([1; 32]);
        let (first, second) = (remembered.share(pair), remembered.share(pair));
        let second_outcome = {
            let mut first_outcome = Box::pin(first.outcome(async || pending().await));
            let mut second_outcome = Box::pin(second.outcome(async || Outcome::Right));
            // The first begins, and the second waits for it.
            assert!(poll_fn(|context| Poll::Ready(first_outcome.as_mut().poll(context).is_pending())).await);
            assert!(poll_fn(|context| Poll::Ready(second_outcome.as_mut().poll(context).is_pending())).await);
            second_outcome
        };
        assert!(matches!(second_outcome.await, Outcome::Right));
        drop(first);
        assert_eq!(remembered.running().len(), 1);
        drop(second);
        assert!(remembered.running().is_empty());
    }
}
