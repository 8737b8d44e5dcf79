//! Which failures of client authentication are recorded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::names::ClientId;

/// Failures within this time after the first belong to one series.
const SERIES: TimeDelta = TimeDelta::hours(1);

/// The series of failures that this server has seen begin. Only clients that exist are in it, so that it stays small.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<HashMap<ClientId, DateTime<Utc>>>>);

impl Failures {
    /// Notes a failure, and returns whether it is the first of a series.
    pub(crate) fn is_first(&self, client: &ClientId, now: DateTime<Utc>) -> bool {
        let mut series = self.series();
        series.retain(|_, began| now < *began + SERIES);
        match series.get(client) {
            Some(_) => false,
            None => series.insert(client.clone(), now).is_none(),
        }
    }

    /// Forgets a series whose first failure could not be recorded.
    pub(crate) fn forget(&self, client: &ClientId) {
        self.series().remove(client);
    }

    fn series(&self) -> MutexGuard<'_, HashMap<ClientId, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
