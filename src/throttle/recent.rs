//! Refusals of the last second. Who guesses on without a pause is refused from memory, and costs the database nothing.

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;

use super::{Refusal, budget::Key};
use crate::ids::UserId;

/// How long an attempt is refused from memory, at most. So long an unlocked user, or one who logged in by another name, may
/// still be refused by a server that was not asked.
const TTL: TimeDelta = TimeDelta::seconds(1);
/// The maximum number of refusals, which bounds the memory.
const CAPACITY: usize = 16_384;

/// The name that was presented, the network, and the user of the device token.
///
/// Not the account or the network alone: another attempt on the account may come from a network that it knows. Nor without
/// the device token: only one of the account has another budget, and whose account it is, is not known yet.
pub(super) type Place = (Key, Key, Option<UserId>);

/// The refused attempts of this server.
pub(super) struct Recent(Cache<Place, Refused>);

#[derive(Clone, Copy)]
struct Refused {
    why: Why,
    at: DateTime<Utc>,
}

/// Why an attempt was refused.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// By a budget.
    Budget(Refusal),
    /// The hash queue had no place for a stranger.
    Queue,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Remembers a refusal that no attempt under way can change.
    pub(super) fn add(&self, place: Place, why: Why, now: DateTime<Utc>) {
        self.0.insert(place, Refused { why, at: now });
    }

    /// Returns why an attempt was refused, if it still would be.
    pub(super) fn get(&self, place: Place, now: DateTime<Utc>) -> Option<Why> {
        let Refused { why, at } = self.0.get(&place)?;
        let passed = now - at;
        let is_recent = TimeDelta::zero() <= passed && passed < ttl(&place.0, &place.1);
        let why = match why {
            Why::Budget(refusal) => {
                let microseconds = refusal.microseconds - passed.num_microseconds()?;
                (microseconds > 0).then_some(Why::Budget(Refusal { microseconds, ..refusal }))?
            }
            Why::Queue => Why::Queue,
        };
        is_recent.then_some(why)
    }

    /// Forgets a refusal: the user has logged in.
    pub(super) fn remove(&self, place: Place) {
        self.0.remove(&place);
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

/// Half a second to a second, as the keys have it: what was refused at the same time would else ask the database at the same
/// time again, each second, and keep the requests of others waiting meanwhile.
fn ttl(account: &Key, network: &Key) -> TimeDelta {
    TTL - TimeDelta::microseconds(1_953 * i64::from(account[0] ^ network[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::budget::Budget;

    #[test]
    fn a_refusal_lasts_for_its_wait_and_a_second_at_most() {
        // The same first byte: a whole second.
        let (account, network) = ([1; 16], [1; 16]);
        let place = (account, network, None);
        let refused = |microseconds| Why::Budget(Refusal { budget: Budget::Account, key: account, microseconds });
        let at = |milliseconds| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds);
        let recent = Recent::new();
        let left = |milliseconds| match recent.get(place, at(milliseconds)) {
            Some(Why::Budget(refusal)) => Some(refusal.microseconds),
            _ => None,
        };
        recent.add(place, refused(5_000_000), at(1_000));
        assert_eq!([999, 1_000, 1_999, 2_000].map(left), [None, Some(5_000_000), Some(4_001_000), None]);
        recent.add(place, refused(200_000), at(1_000));
        assert_eq!([1_199, 1_200].map(left), [Some(1_000), None]);
        for other in [(account, [4; 16], None), ([4; 16], network, None), (account, network, Some([5; 16].into()))] {
            assert!(recent.get(other, at(1_000)).is_none());
        }
        recent.clear();
        assert_eq!(left(1_000), None);
    }

    #[test]
    fn refusals_of_the_same_time_are_forgotten_at_different_times() {
        assert_eq!(ttl(&[0; 16], &[0; 16]), TTL);
        assert_eq!(ttl(&[7; 16], &[0xf8; 16]).num_milliseconds(), 501);
    }
}
