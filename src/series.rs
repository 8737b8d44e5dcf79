//! Selects the first of a series, for what is written to the database at most once in a while.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

/// The series of this server that have begun. Clones share them.
///
/// Keys must be ids of rows that exist, which bounds the size.
#[derive(Clone, Debug)]
pub struct Series<K> {
    /// What comes within this time after the first belongs to its series.
    length: TimeDelta,
    state: Arc<Mutex<State<K>>>,
}

#[derive(Debug)]
struct State<K> {
    /// When each series began.
    began: HashMap<K, DateTime<Utc>>,
    /// When the series that were over were last removed.
    swept: DateTime<Utc>,
}

impl<K: Clone + Eq + Hash> Series<K> {
    /// Returns an empty set of series that last for this time.
    #[must_use]
    pub fn of(length: TimeDelta) -> Self {
        let state = State { began: HashMap::new(), swept: DateTime::UNIX_EPOCH };
        Self { length, state: Arc::new(Mutex::new(state)) }
    }

    /// Returns whether this begins a series.
    pub(crate) fn is_first(&self, key: &K, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let lasts = |began: &DateTime<Utc>| now < *began + self.length;
        // Removes the series that are over: the map must not grow with each key that ever was here. Not with each call,
        // since all requests wait for the lock.
        if !lasts(&state.swept) {
            state.began.retain(|_, began| lasts(began));
            state.swept = now;
        }
        if state.began.get(key).is_some_and(lasts) {
            return false;
        }
        state.began.insert(key.clone(), now);
        true
    }

    /// Removes a series whose first could not be written, so that the next one is.
    pub(crate) fn forget(&self, key: &K) {
        self.state().began.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_ends_after_its_length() {
        let series = Series::of(TimeDelta::seconds(60));
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        // The key 2 begins between two sweeps, and is over before the next.
        let calls = [(1, 1000), (2, 1030), (1, 1059), (1, 1060), (2, 1089), (2, 1090), (1, 1119), (1, 1120)];
        let firsts = calls.map(|(key, seconds)| series.is_first(&key, at(seconds)));
        assert_eq!(firsts, [true, true, false, true, false, true, false, true]);
        series.forget(&2);
        assert!(series.is_first(&2, at(1121)));
    }

    #[test]
    fn series_are_removed_once_per_length() {
        let series = Series::of(TimeDelta::seconds(60));
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let size_after = |key, seconds| {
            series.is_first(&key, at(seconds));
            series.state().began.len()
        };
        // A sweep at 1000, 1060 and 1120.
        let sizes = [(1, 1000), (2, 1010), (3, 1059), (4, 1060), (5, 1075), (6, 1119), (7, 1120)];
        assert_eq!(sizes.map(|(key, seconds)| size_after(key, seconds)), [1, 2, 3, 3, 4, 5, 3]);
    }
}
