//! Refusals of the last second. Who guesses on without a pause is refused from memory, and costs the database nothing.

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;

use super::{
    Refusal,
    budget::{Key, Keys},
};

/// How long an attempt is refused from memory. So long an unlocked user, or one who logged in by another name, may still be
/// refused by a server that was not asked.
const TTL: TimeDelta = TimeDelta::seconds(1);
/// The maximum number of refusals, which bounds the memory.
const CAPACITY: usize = 16_384;

/// The refused attempts of this server, by the name that was presented and the network.
///
/// Not by the account or the network alone: another attempt on the account may come from a network that it knows.
pub(super) struct Recent(Cache<(Key, Key), Refused>);

#[derive(Clone, Copy)]
struct Refused {
    refusal: Refusal,
    at: DateTime<Utc>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Remembers a refusal that no attempt under way can change.
    pub(super) fn add(&self, keys: &Keys, refusal: Refusal, now: DateTime<Utc>) {
        self.0.insert((keys.account, keys.network), Refused { refusal, at: now });
    }

    /// Returns the refusal of an attempt, if it is still the same.
    pub(super) fn get(&self, account: Key, network: Key, now: DateTime<Utc>) -> Option<Refusal> {
        let Refused { refusal, at } = self.0.get(&(account, network))?;
        let passed = now - at;
        let microseconds = refusal.microseconds - passed.num_microseconds()?;
        (TimeDelta::zero() <= passed && passed < TTL && microseconds > 0).then_some(Refusal { microseconds, ..refusal })
    }

    /// Forgets a refusal: the user has logged in.
    pub(super) fn remove(&self, keys: &Keys) {
        self.0.remove(&(keys.account, keys.network));
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::budget::Budget;

    #[test]
    fn a_refusal_lasts_for_its_wait_and_a_second_at_most() {
        let (account, network) = ([1; 16], [2; 16]);
        let keys = Keys { account, pair: [3; 16], network, device: None };
        let refused = |microseconds| Refusal { budget: Budget::Account, key: account, microseconds };
        let at = |milliseconds| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds);
        let recent = Recent::new();
        let left = |milliseconds| recent.get(account, network, at(milliseconds)).map(|refusal| refusal.microseconds);
        recent.add(&keys, refused(5_000_000), at(1_000));
        assert_eq!([999, 1_000, 1_999, 2_000].map(left), [None, Some(5_000_000), Some(4_001_000), None]);
        recent.add(&keys, refused(200_000), at(1_000));
        assert_eq!([1_199, 1_200].map(left), [Some(1_000), None]);
        assert!(recent.get(account, [4; 16], at(1_000)).is_none() && recent.get([4; 16], network, at(1_000)).is_none());
        recent.clear();
        assert_eq!(left(1_000), None);
    }
}
