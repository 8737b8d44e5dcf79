//! Which budget refuses an attempt, and for how long.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    KNOWN, Throttle, Throttled,
    budget::{Budget, Key, Keys},
    limits,
    sql::{self, BudgetRow},
};
use crate::{
    config::Quota,
    store::{StoreError, conn},
};

/// The budget that refuses an attempt, and the wait until it allows one. Not positive: it does by now.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    pub(super) budget: Budget,
    pub(super) key: Key,
    pub(super) microseconds: i64,
}

impl Throttle {
    /// Returns the refusal of an attempt that was not reserved.
    pub(super) async fn refusal(&self, keys: &Keys, now: DateTime<Utc>) -> Result<Refusal, StoreError> {
        let trusted = keys.trusted();
        let mut conn = self.0.store.read().await?;
        let rows = conn::all!(conn, BudgetRow, sql::READ, &trusted[..], &keys.account[..], &keys.network[..])?;
        let known_since = (now - KNOWN).timestamp_micros();
        let is_known = keys.device.is_some()
            || rows.iter().any(|row| row.budget == keys.pair && row.known_at.is_some_and(|at| at > known_since));
        let of_row = |row: &BudgetRow| {
            let key = Key::try_from(row.budget.as_slice()).ok()?;
            let budget = match key {
                _ if key == keys.network => Budget::Network,
                _ if key == keys.account => Budget::Account,
                _ if keys.device.is_some() => Budget::Device,
                _ => Budget::Pair,
            };
            let is_charged = is_known == (key == trusted);
            is_charged.then(|| (self.microseconds_left(budget, row, now), budget, key))
        };
        let longest = rows.iter().filter_map(of_row).max_by_key(|(wait, ..)| *wait);
        // No row: it was deleted since.
        let (microseconds, budget, key) = longest.unwrap_or((0, Budget::Account, keys.account));
        Ok(Refusal { budget, key, microseconds })
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, refusal: &Refusal) -> Throttled {
        let Refusal { budget, key, microseconds } = *refusal;
        self.0.refusals.add(budget);
        let quota = self.0.login.or(self.0.network).unwrap_or(Quota { count: 1, window: Duration::from_secs(1) });
        let seconds = u64::try_from(microseconds).unwrap_or(0).div_ceil(1_000_000);
        Throttled { budget, retry_after: seconds.max(1), quota, key }
    }

    /// Returns the wait until a budget allows an attempt, as the statement computes it.
    fn microseconds_left(&self, budget: Budget, row: &BudgetRow, now: DateTime<Utc>) -> i64 {
        let (quota, longest) = match budget {
            Budget::Network => (self.0.network, sql::MAX_NETWORK_WAIT),
            _ => (self.0.login, sql::MAX_WAIT),
        };
        let (free, window) = limits(quota);
        if row.failures < free {
            return 0;
        }
        let doubled = u32::try_from(row.failures - free).ok().and_then(|times| 1_u64.checked_shl(times));
        let wait = doubled.unwrap_or(longest).min(longest).saturating_mul(1_000_000);
        row.failed_at + window.min(i64::try_from(wait).unwrap_or(i64::MAX)) - now.timestamp_micros()
    }
}
