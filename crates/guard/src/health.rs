//! How well a guard is supplied with what it judges tokens by.

use std::time::Duration;

/// What a guard has at this moment, for a service that shows it in its own health route. [`Guard::health`] tells it.
///
/// [`Guard::health`]: crate::Guard::health
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether there are keys. A guard that fetches them has none before it did so first.
    pub keys: bool,
    /// How well it is known what was revoked.
    pub revocations: RevocationsHealth,
}

/// How well it is known what was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationsHealth {
    /// This guard does without: tokens are good until they expire.
    NotFollowed,
    /// Never heard yet: no token is accepted.
    Never {
        /// Whether the last attempt to hear it failed.
        failing: bool,
    },
    /// Heard, the last time this long ago.
    Heard {
        /// While the issuer is away this grows, until [`max_staleness`] has tokens refused.
        ///
        /// [`max_staleness`]: crate::GuardBuilder::max_staleness
        ago: Duration,
        /// Whether the last attempt to hear more failed.
        failing: bool,
    },
}
