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
    began: Arc<Mutex<HashMap<K, DateTime<Utc>>>>,
}

impl<K: Clone + Eq + Hash> Series<K> {
    /// Returns an empty set of series that last for this time.
    #[must_use]
    pub fn of(length: TimeDelta) -> Self {
        Self { length, began: Arc::default() }
    }

    /// Returns whether this begins a series.
    pub(crate) fn is_first(&self, key: &K, now: DateTime<Utc>) -> bool {
        let mut began = self.began();
        // Removes the series that are over: the map must not grow with each key that ever was here.
        began.retain(|_, began| now < *began + self.length);
        match began.get(key) {
            Some(_) => false,
            None => began.insert(key.clone(), now).is_none(),
        }
    }

    /// Removes a series whose first could not be written, so that the next one is.
    pub(crate) fn forget(&self, key: &K) {
        self.began().remove(key);
    }

    fn began(&self) -> MutexGuard<'_, HashMap<K, DateTime<Utc>>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
