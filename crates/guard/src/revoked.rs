//! What was revoked, and how well this guard knows it.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use crate::{Claims, TokenError};

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
    fn add(&mut self, revocation: Revocation) {
        let Revocation { kind, id, revoked_at, expires_at } = revocation;
        let of_time = |map: &mut HashMap<String, Until>, id| {
            let until = map.entry(id).or_insert(Until { revoked_at, expires_at });
            until.revoked_at = until.revoked_at.max(revoked_at);
            until.expires_at = until.expires_at.max(expires_at);
        };
        match kind {
            RevocationKind::Session => drop(self.sessions.insert(id, expires_at)),
            RevocationKind::Token => drop(self.tokens.insert(id, expires_at)),
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

    /// Takes news of the issuer. `whole`: they are all that there is, and what was known before is forgotten.
    pub(crate) fn hear(&self, news: impl IntoIterator<Item = Revocation>, whole: bool, now: i64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if whole {
            *known = Known::default();
        }
        let before = known.sessions.len() + known.tokens.len();
        news.into_iter().for_each(|revocation| known.add(revocation));
        // Not each time that there is nothing new: it looks at all of them.
        if known.sessions.len() + known.tokens.len() != before || known.heard_at.is_none() {
            known.forget_expired(now);
        }
        known.heard_at = Some(Instant::now());
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

    /// How long ago the issuer last said what is revoked; none: never.
    pub(crate) fn heard_ago(&self) -> Option<Duration> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).heard_at.map(|at| at.elapsed())
    }
}
