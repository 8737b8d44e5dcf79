//! Selects the failed client authentications that are recorded in the audit log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::names::ClientId;

/// Failures within this time after the first are one series, of which only the first is recorded.
const SERIES: TimeDelta = TimeDelta::hours(1);

/// The current series of failures on this server. It has only clients that exist, which bounds its size.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<HashMap<ClientId, DateTime<Utc>>>>);

impl Failures {
    /// Counts a failure, and returns whether it is the first of a series.
    pub(crate) fn is_first(&self, client: &ClientId, now: DateTime<Utc>) -> bool {
        let mut series = self.series();
        // Removes the series that are over: the map must not grow with each client that ever failed.
        series.retain(|_, began| now < *began + SERIES);
        match series.get(client) {
            Some(_) => false,
            None => series.insert(client.clone(), now).is_none(),
        }
    }

    /// Removes a series whose first failure could not be recorded, so that the next failure is recorded.
    pub(crate) fn forget(&self, client: &ClientId) {
        self.series().remove(client);
    }

    fn series(&self) -> MutexGuard<'_, HashMap<ClientId, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
