//! The health of a guard: whether it has keys, and how old its revocations are.

use std::time::Duration;

/// The state of a guard, for the health check of a service. [`Guard::health`] returns it.
///
/// [`Guard::health`]: crate::Guard::health
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether the guard has keys. A guard that fetches them has none before the first fetch.
    pub keys: bool,
    /// The state of the revocations.
    pub revocations: RevocationsHealth,
}

/// The state of a guard's revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationsHealth {
    /// The guard does not follow revocations: tokens are valid until they expire.
    NotFollowed,
    /// There was no update yet, and no token is accepted.
    Never {
        /// Whether the last attempt failed.
        failing: bool,
    },
    /// There was an update.
    Updated {
        /// The time since the last update. While the issuer is unreachable it grows, until tokens are refused after
        /// [`max_staleness`].
        ///
        /// [`max_staleness`]: crate::GuardBuilder::max_staleness
        ago: Duration,
        /// Whether the last attempt failed.
        failing: bool,
    },
}
