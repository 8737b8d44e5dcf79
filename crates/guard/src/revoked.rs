//! What was revoked, and how well this guard knows it.

mod expiring_map;

use std::{
    sync::{PoisonError, RwLock, RwLockWriteGuard},
    time::{Duration, Instant},
};

use self::expiring_map::{ExpiringMap, Until};
use crate::{Claims, RevocationsHealth, TokenError};

/// Something whose tokens do not count any more. Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What it is.
    pub kind: RevocationKind,
    /// Which: a `sid`, `sub`, `client_id` or `jti`.
    pub id: String,
    /// When: of a user and a client, tokens that were issued later count again.
    pub revoked_at: i64,
    /// From when on no token of it can live.
    pub expires_at: i64,
}

/// What can be revoked.
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
    /// By its name in the feed.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Session, Self::User, Self::Client, Self::Token].into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its name in the feed.
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

/// How many expired entries one call removes, if there are that many: more than a page of the feed adds.
const REMOVED_AT_ONCE: usize = 1024;

/// The revocations that a guard knows.
pub(crate) struct Revoked {
    known: RwLock<Known>,
    /// How long ago the last news may be; none: this guard follows nobody.
    max_staleness: Option<Duration>,
}

#[derive(Default)]
struct Known {
    sessions: ExpiringMap,
    tokens: ExpiringMap,
    users: ExpiringMap,
    clients: ExpiringMap,
    /// When the issuer last said what is revoked.
    heard_at: Option<Instant>,
}

impl Known {
    /// All that is revoked.
    fn of_whole(news: impl IntoIterator<Item = Revocation>, now: i64) -> Self {
        let mut known = Self::default();
        for revocation in news {
            known.add(revocation);
        }
        known.remove_expired(now, usize::MAX);
        known
    }

    /// Adds news and removes what has expired. Every verification waits for the lock under which this runs, so the work
    /// depends on the number of news, not on how much is known.
    fn learn(&mut self, news: Vec<Revocation>, now: i64) {
        // More than is added, so that a backlog of expired entries shrinks whatever comes in.
        let limit = REMOVED_AT_ONCE.max(news.len().saturating_mul(2));
        for revocation in news {
            self.add(revocation);
        }
        self.remove_expired(now, limit);
    }

    fn add(&mut self, revocation: Revocation) {
        let Revocation { kind, id, revoked_at, expires_at } = revocation;
        let map = match kind {
            RevocationKind::Session => &mut self.sessions,
            RevocationKind::Token => &mut self.tokens,
            RevocationKind::User => &mut self.users,
            RevocationKind::Client => &mut self.clients,
        };
        map.add(id.into(), Until { revoked_at, expires_at });
    }

    fn remove_expired(&mut self, now: i64, limit: usize) {
        let mut left = limit;
        for map in [&mut self.sessions, &mut self.tokens, &mut self.users, &mut self.clients] {
            left -= map.remove_expired(now, left);
        }
    }

    fn has(&self, claims: &Claims) -> bool {
        let until_then = |map: &ExpiringMap, id: &str| map.get(id).is_some_and(|until| claims.iat <= until.revoked_at);
        claims.sid.as_deref().is_some_and(|sid| self.sessions.get(sid).is_some())
            || self.tokens.get(claims.jti.as_str()).is_some()
            || until_then(&self.users, &claims.sub)
            || until_then(&self.clients, &claims.client_id)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len() + self.users.len() + self.clients.len()
    }
}

impl Revoked {
    pub(crate) fn new(max_staleness: Option<Duration>) -> Self {
        Self { known: RwLock::default(), max_staleness }
    }

    /// Takes all news of the issuer up to now. `whole`: they are all that there is, and what was known before is forgotten.
    pub(crate) fn hear(&self, news: impl IntoIterator<Item = Revocation>, whole: bool, now: i64) {
        if whole {
            let mut known = Known::of_whole(news, now);
            known.heard_at = Some(Instant::now());
            // Only the swap is done under the lock; both sets may be large.
            let before = std::mem::replace(&mut *self.write(), known);
            drop(before);
        } else {
            // The caller's iterator runs before the lock is taken: it may be slow, or panic.
            let news: Vec<_> = news.into_iter().collect();
            let mut known = self.write();
            known.learn(news, now);
            known.heard_at = Some(Instant::now());
        }
    }

    /// Takes some news of which there are more: they count, and how old the last news are stays as it is.
    #[cfg(feature = "issuer")]
    pub(crate) fn learn(&self, news: impl IntoIterator<Item = Revocation>, now: i64) {
        let news = news.into_iter().collect();
        self.write().learn(news, now);
    }

    /// Whether a token counts, as far as is known.
    pub(crate) fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(max) = self.max_staleness
            && known.heard_at.is_none_or(|at| at.elapsed() > max)
        {
            return Err(TokenError::RevocationsUnknown);
        }
        if known.has(claims) { Err(TokenError::Revoked) } else { Ok(()) }
    }

    /// `failing`: whether whoever asks for news gets none.
    pub(crate) fn health(&self, failing: bool) -> RevocationsHealth {
        let heard_at = self.known.read().unwrap_or_else(PoisonError::into_inner).heard_at;
        match heard_at {
            Some(at) => RevocationsHealth::Heard { ago: at.elapsed(), failing },
            None if self.max_staleness.is_some() => RevocationsHealth::Never { failing },
            None => RevocationsHealth::NotFollowed,
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        // What is done under the lock cannot panic half way.
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
