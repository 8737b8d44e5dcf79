//! What the server counts for `GET /metrics`, in atomics. `http/metrics.rs` reads it, and what other parts count anyway.

mod histogram;
mod process;
mod requests;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use chrono::{DateTime, Utc};

pub(crate) use self::{
    histogram::Histogram,
    process::Process,
    requests::{METHODS, Requests, Route, series},
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1.
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    fn add_many(&self, many: u64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests and their durations, by route.
    pub(crate) requests: Requests,
    /// Logins, by result.
    pub(crate) logins: Logins,
    /// Issued access tokens, by grant.
    pub(crate) tokens: Tokens,
    /// Refresh tokens that were used again after their retirement.
    pub(crate) refresh_reuse: Counter,
    /// When the certificate in use expires, in seconds since 1970; `None`: without TLS.
    pub(crate) certificate_not_after: Option<Arc<AtomicI64>>,
    /// In microseconds since 1970; 0: not yet.
    sealed_at: AtomicI64,
}

impl Metrics {
    /// Notes that all audit events but the newest are sealed.
    pub(crate) fn note_sealed(&self, now: DateTime<Utc>) {
        self.sealed_at.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    /// Returns when all audit events but the newest were last found to be sealed; `None`: not yet.
    pub(crate) fn sealed_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.sealed_at.load(Ordering::Relaxed)).filter(|at| at.timestamp() != 0)
    }
}

/// Results of logins, with the password grant or HTTP Basic.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    pub(crate) success: Counter,
    /// Unknown names too.
    pub(crate) wrong_password: Counter,
    pub(crate) throttled: Counter,
    /// The password was right, and the user is disabled.
    pub(crate) disabled: Counter,
    /// The hash queue was full.
    pub(crate) overloaded: Counter,
}

/// Issued access tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) password: Counter,
    pub(crate) refresh_token: Counter,
    pub(crate) client_credentials: Counter,
    pub(crate) token_exchange: Counter,
}
