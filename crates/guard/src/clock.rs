//! The clock, which tests replace.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A function that returns the time in whole seconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Returns the system clock.
pub(crate) fn system() -> Clock {
    Arc::new(now)
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
fn now() -> i64 {
    // A clock before 1970 or after the year 292 billion is broken. Then no token is valid: at 0 each is issued in the
    // future, and at the maximum each has expired.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}
