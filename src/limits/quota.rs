//! A quota of each network.

use std::{
    iter,
    sync::atomic::{AtomicU64, Ordering},
};

use chrono::{DateTime, Utc};

use super::network::{Network, PLACES, Places};
use crate::config::Quota;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How far the clocks that threads have read are apart at most. A network that is further ahead than it can be has been there
/// before the clock was set back.
const APART: u64 = NANOS_PER_SECOND;

/// A quota of each network: at most `count` at once, and after that one in each `count`th part of the window, so that an unused
/// quota is whole again after a window (GCRA, the generic cell rate algorithm of ITU-T I.371).
///
/// The table has one number for each network: the time at which its quota is whole again. Each admission moves it by `interval`
/// into the future; the distance to it is the part of the quota that is used. Networks may share a number, and so a quota.
#[derive(Debug)]
pub struct NetworkQuota {
    quota: Quota,
    /// Nanoseconds until one more is admitted, once the quota is used up. Times are nanoseconds since 1970.
    interval: u64,
    /// The whole quota: `count` intervals. That is the window, rounded up by less than `count` nanoseconds.
    whole: u64,
    places: Places,
    whole_at: Box<[AtomicU64]>,
}

/// A network's quota, after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Whether the request is within the quota. One that is not uses nothing of it.
    pub admitted: bool,
    /// How many more requests are within the quota now.
    pub remaining: u32,
    /// Seconds until there is one more, rounded up.
    pub seconds: u64,
}

impl NetworkQuota {
    /// Returns the quota, of which nothing is used.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let count = u64::from(quota.count.max(1));
        // Settings allow up to 100 years: that and the time now fit together.
        let window = u64::try_from(quota.window.as_nanos()).unwrap_or(u64::MAX / 4);
        let interval = window.div_ceil(count).max(1);
        let whole_at = iter::repeat_with(|| AtomicU64::new(0)).take(PLACES).collect();
        Self { quota, interval, whole: interval * count, places: Places::default(), whole_at }
    }

    /// Returns count and window.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes one from the quota of a network, if there is one.
    #[must_use]
    pub fn take(&self, network: Network, now: DateTime<Utc>) -> Allowance {
        let now = now.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default();
        let number = &self.whole_at[self.places.of(network)];
        // It guards no other memory, so the order of loads and stores does not matter.
        let mut whole_at = number.load(Ordering::Relaxed);
        loop {
            let used = self.used(whole_at, now);
            if used + self.interval > self.whole {
                return self.allowance(false, used);
            }
            let used = used + self.interval;
            // Fails if another request of the network was faster.
            match number.compare_exchange_weak(whole_at, now + used, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.allowance(true, used),
                Err(changed) => whole_at = changed,
            }
        }
    }

    /// Returns how much is used of the quota, in nanoseconds of the time that it takes to be whole again.
    fn used(&self, whole_at: u64, now: u64) -> u64 {
        let used = whole_at.saturating_sub(now);
        // The clock was set back. The network would have to wait until it is what it was.
        if used > self.whole + APART { 0 } else { used }
    }

    fn allowance(&self, admitted: bool, used: u64) -> Allowance {
        let remaining = self.whole.saturating_sub(used) / self.interval;
        let wait = used + (remaining + 1) * self.interval - self.whole;
        Allowance {
            admitted,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            seconds: wait.div_ceil(NANOS_PER_SECOND),
        }
    }
}

#[cfg(test)]
mod tests;
