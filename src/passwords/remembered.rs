//! Passwords that were verified a moment ago. HTTP Basic sends the password with each request, and a hash for each would
//! take all cores.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;

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
}

impl Remembered {
    /// Returns an empty memory with a random key.
    pub fn start() -> Result<Self, NoRandomness> {
        let key: [u8; 32] = secret::random()?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), verified: Cache::new(CAPACITY) })
    }

    /// Returns the key under which a name and a password are remembered.
    pub(crate) fn pair(&self, name: &str, password: &Password) -> Pair {
        let mut mac = hmac::Context::with_key(&self.key);
        // The length separates the two: otherwise `ab` + `c` would equal `a` + `bc`.
        mac.update(&name.len().to_be_bytes());
        mac.update(name.to_ascii_lowercase().as_bytes());
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

    /// Forgets a pair.
    pub(crate) fn forget(&self, pair: &Pair) {
        self.verified.remove(pair);
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}
