//! What may be: the state of an account, and the changes whose results are in doubt.

use std::time::{Duration, Instant};

/// How long a request without an answer may still be under way: the waits for a connection, a lock and a hash, each of at most
/// `GRANTD_DATABASE_TIMEOUT` or `GRANTD_HASH_WAIT`.
pub(crate) const HORIZON: Duration = Duration::from_secs(8);

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) exists: bool,
    pub(crate) enabled: bool,
    /// The number of its password.
    pub(crate) password: u32,
    /// Whether it has the role of its worker.
    pub(crate) has_role: bool,
}

impl State {
    /// Before the account is created.
    pub(crate) const NONE: Self = Self { exists: false, enabled: true, password: 0, has_role: false };
}

/// A change without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// When nothing of the request can be under way any more.
    pub(crate) due: Instant,
    pub(crate) before: State,
    pub(crate) after: State,
    pub(crate) ends_sessions: bool,
}

impl Pending {
    pub(crate) fn new(before: State, after: State, ends_sessions: bool) -> Self {
        Self { due: Instant::now() + HORIZON, before, after, ends_sessions }
    }
}
