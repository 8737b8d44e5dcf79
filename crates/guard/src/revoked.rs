//! What was revoked, and how well this guard knows it.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockWriteGuard},
    time::{Duration, Instant},
};

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

/// The revocations that a guard knows.
pub(crate) struct Revoked {
    known: RwLock<Known>,
    /// How long ago the last news may be; none: this guard follows nobody.
    max_staleness: Option<Duration>,
}

#[derive(Default)]
struct Known {
    sessions: HashMap<String, i64>,
    tokens: HashMap<String, i64>,
    /// With the time until which their tokens are refused.
    users: HashMap<String, Until>,
    clients: HashMap<String, Until>,
    /// When the issuer last said what is revoked.
    heard_at: Option<Instant>,
}

struct Until {
    revoked_at: i64,
    expires_at: i64,
}

impl Known {
    fn learn(&mut self, news: impl IntoIterator<Item = Revocation>, now: i64) {
        let before = self.len();
        news.into_iter().for_each(|revocation| self.add(revocation));
        // Not each time that there is nothing new: it looks at all of them.
        if self.len() != before {
            self.forget_expired(now);
        }
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len() + self.users.len() + self.clients.len()
    }

    fn add(&mut self, revocation: Revocation) {
        let Revocation { kind, id, revoked_at, expires_at } = revocation;
        let of_time = |map: &mut HashMap<String, Until>, id| {
            let until = map.entry(id).or_insert(Until { revoked_at, expires_at });
            until.revoked_at = until.revoked_at.max(revoked_at);
            until.expires_at = until.expires_at.max(expires_at);
        };
        let for_good = |map: &mut HashMap<String, i64>, id| {
            let until = map.entry(id).or_insert(expires_at);
            *until = expires_at.max(*until);
        };
        match kind {
            RevocationKind::Session => for_good(&mut self.sessions, id),
            RevocationKind::Token => for_good(&mut self.tokens, id),
            RevocationKind::User => of_time(&mut self.users, id),
            RevocationKind::Client => of_time(&mut self.clients, id),
        }
    }

    fn forget_expired(&mut self, now: i64) {
        self.sessions.retain(|_, expires_at| *expires_at > now);
        self.tokens.retain(|_, expires_at| *expires_at > now);
        self.users.retain(|_, until| until.expires_at > now);
        self.clients.retain(|_, until| until.expires_at > now);
    }

    fn has(&self, claims: &Claims) -> bool {
        let of_time =
            |map: &HashMap<String, Until>, id| map.get(id).is_some_and(|until| claims.iat <= until.revoked_at);
        claims.sid.as_ref().is_some_and(|sid| self.sessions.contains_key(sid))
            || self.tokens.contains_key(&claims.jti)
            || of_time(&self.users, &claims.sub)
            || of_time(&self.clients, &claims.client_id)
    }
}

impl Revoked {
    pub(crate) fn new(max_staleness: Option<Duration>) -> Self {
        Self { known: RwLock::default(), max_staleness }
    }

    /// Takes all news of the issuer up to now. `whole`: they are all that there is, and what was known before is forgotten.
    pub(crate) fn hear(&self, news: impl IntoIterator<Item = Revocation>, whole: bool, now: i64) {
        let mut known = self.write();
        if whole {
            *known = Known::default();
        }
        known.learn(news, now);
        known.heard_at = Some(Instant::now());
    }

    /// Takes some news of which there are more: they count, and how old the last news are stays as it is.
    #[cfg(feature = "issuer")]
    pub(crate) fn learn(&self, news: impl IntoIterator<Item = Revocation>, now: i64) {
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
