//! The revocations that a guard knows, and their age.

mod expiring_map;

use std::{
    sync::{
        PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use self::expiring_map::{ExpiringMap, Until};
use crate::{Claims, RevocationsHealth, TokenError};

/// A revocation of tokens. Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The claim that the tokens have in common.
    pub kind: RevocationKind,
    /// The value of the claim: a `sid`, `sub`, `client_id` or `jti`.
    pub id: String,
    /// The time of the revocation. Tokens of a user or client that were issued later are valid.
    pub revoked_at: i64,
    /// The time from which on all of these tokens have expired.
    pub expires_at: i64,
}

/// The kind of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationKind {
    /// A session: all tokens with this `sid`.
    Session,
    /// A user: all tokens with this `sub` that were issued until then.
    User,
    /// A client: all tokens with this `client_id` that were issued until then.
    Client,
    /// One token, by its `jti`.
    Token,
}

impl RevocationKind {
    /// Parses the name in the feed.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Session, Self::User, Self::Client, Self::Token].into_iter().find(|kind| kind.as_str() == name)
    }

    /// Returns the name in the feed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Client => "client",
            Self::Token => "token",
        }
    }
}

/// The number of expired entries that a call removes at most: more than a page of the feed adds.
const REMOVED_AT_ONCE: usize = 1024;

/// The revocations that a guard knows.
pub(crate) struct Revoked {
    known: RwLock<Known>,
    /// The number of updates that have arrived. An update is counted before it is applied: what was asked of the issuer
    /// after that already shows its revocations.
    updates: AtomicU64,
    /// The maximum age of the last update; `None`: the guard does not follow revocations.
    max_staleness: Option<Duration>,
}

#[derive(Default)]
struct Known {
    sessions: ExpiringMap,
    tokens: ExpiringMap,
    users: ExpiringMap,
    clients: ExpiringMap,
    /// The time of the last update. Monotonic: a clock that is set back must not make old revocations look fresh.
    updated_at: Option<Instant>,
}

impl Known {
    /// Returns the set of all revocations.
    fn of_whole(news: impl IntoIterator<Item = Revocation>, update: u64, now: i64) -> Self {
        let mut known = Self::default();
        for revocation in news {
            known.add(revocation, update);
        }
        known.remove_expired(now, usize::MAX);
        known
    }

    /// Adds revocations and removes expired ones. Verifications wait for the lock under which this runs, so the work
    /// depends on the number of new revocations, not on the number of known ones.
    fn learn(&mut self, news: Vec<Revocation>, update: u64, now: i64) {
        // More than are added, so that a backlog of expired entries always shrinks.
        let limit = REMOVED_AT_ONCE.max(news.len().saturating_mul(2));
        for revocation in news {
            self.add(revocation, update);
        }
        self.remove_expired(now, limit);
    }

    fn add(&mut self, revocation: Revocation, update: u64) {
        let Revocation { kind, id, revoked_at, expires_at } = revocation;
        let map = match kind {
            RevocationKind::Session => &mut self.sessions,
            RevocationKind::Token => &mut self.tokens,
            RevocationKind::User => &mut self.users,
            RevocationKind::Client => &mut self.clients,
        };
        map.add(id.into(), Until { revoked_at, expires_at, update });
    }

    fn remove_expired(&mut self, now: i64, limit: usize) {
        let mut left = limit;
        for map in [&mut self.sessions, &mut self.tokens, &mut self.users, &mut self.clients] {
            left -= map.remove_expired(now, left);
        }
    }

    /// Returns whether a token is revoked.
    fn has(&self, claims: &Claims) -> bool {
        // `<=`: a token of the same second may have been issued before the revocation.
        let until_then = |map: &ExpiringMap, id: &str| map.get(id).is_some_and(|until| claims.iat <= until.revoked_at);
        // Sessions and single tokens end for good: `iat` does not matter, as it does for users and clients.
        claims.sid.as_deref().is_some_and(|sid| self.sessions.get(sid).is_some())
            || self.tokens.get(claims.jti.as_str()).is_some()
            || until_then(&self.users, &claims.sub)
            // A token that was exchanged ends with the client of its session, and with a client that is its subject.
            || [Some(&claims.client_id), claims.act.is_some().then_some(&claims.sub), claims.session_client_id.as_ref()]
                .into_iter()
                .flatten()
                .any(|client| until_then(&self.clients, client))
    }

    /// Returns whether a revocation of this API key or its owner has arrived after that update. The owner's time does
    /// not matter, as it does for tokens: a key is older than the revocation, and may still be valid.
    #[cfg(feature = "issuer")]
    fn has_news_of_key(&self, key: &Claims, update: u64) -> bool {
        let is_newer = |map: &ExpiringMap, id: &str| map.get(id).is_some_and(|until| until.update > update);
        is_newer(&self.tokens, &key.jti) || is_newer(&self.sessions, &key.jti) || is_newer(&self.users, &key.sub)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len() + self.users.len() + self.clients.len()
    }
}

impl Revoked {
    pub(crate) fn new(max_staleness: Option<Duration>) -> Self {
        Self { known: RwLock::default(), updates: AtomicU64::new(0), max_staleness }
    }

    /// Adds all new revocations up to now. `whole`: they are all revocations, and replace the known ones.
    pub(crate) fn apply(&self, news: impl IntoIterator<Item = Revocation>, whole: bool, now: i64) {
        if whole {
            let mut known = Known::of_whole(news, self.next_update(), now);
            known.updated_at = Some(Instant::now());
            // Both sets may be large: building the one and dropping the other must not block verifications.
            let before = std::mem::replace(&mut *self.write(), known);
            drop(before);
        } else {
            // Collected before the lock is taken: the caller's iterator may be slow or panic.
            let news: Vec<_> = news.into_iter().collect();
            let update = self.next_update();
            let mut known = self.write();
            known.learn(news, update, now);
            known.updated_at = Some(Instant::now());
        }
    }

    /// Adds some revocations, with more to follow: the time of the last update stays the same.
    #[cfg(feature = "issuer")]
    pub(crate) fn learn(&self, news: impl IntoIterator<Item = Revocation>, now: i64) {
        let news = news.into_iter().collect();
        let update = self.next_update();
        self.write().learn(news, update, now);
    }

    fn next_update(&self) -> u64 {
        self.updates.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Returns the number of the last update, for [`Revoked::has_news_of_key`].
    #[cfg(feature = "issuer")]
    pub(crate) fn last_update(&self) -> u64 {
        self.updates.load(Ordering::SeqCst)
    }

    /// Returns whether a revocation of this API key or its owner has arrived after that update.
    #[cfg(feature = "issuer")]
    pub(crate) fn has_news_of_key(&self, key: &Claims, update: u64) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).has_news_of_key(key, update)
    }

    /// Checks that a token is not revoked, and that the revocations are up to date.
    pub(crate) fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(max) = self.max_staleness
            && known.updated_at.is_none_or(|at| at.elapsed() > max)
        {
            return Err(TokenError::RevocationsUnknown);
        }
        if known.has(claims) { Err(TokenError::Revoked) } else { Ok(()) }
    }

    /// Returns the state of the revocations. `failing`: whether the last attempt to get an update failed.
    pub(crate) fn health(&self, failing: bool) -> RevocationsHealth {
        let updated_at = self.known.read().unwrap_or_else(PoisonError::into_inner).updated_at;
        match updated_at {
            Some(at) => RevocationsHealth::Updated { ago: at.elapsed(), failing },
            None if self.max_staleness.is_some() => RevocationsHealth::Never { failing },
            None => RevocationsHealth::NotFollowed,
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        // A poisoned lock is safe to use: no code under it can panic with the sets half changed.
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
