//! The guard: verifies tokens with the keys and revocations that it has.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;

use crate::{
    ApiKeyError, AuthenticateError, Claims, GuardBuilder, Health, KeyError, Revocation, TokenError,
    api_key::is_api_key,
    clock::Clock,
    issuer::Source,
    keys::{Key, Keys},
    remembered::Remembered,
    revoked::Revoked,
    token::{MAX_TOKEN_BYTES, Parts},
};

type Verdict = Result<Arc<Claims>, TokenError>;

/// A verifier for access tokens of one issuer, for one or more audiences. Clones are cheap and share all state.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    issuer: String,
    audiences: Vec<String>,
    leeway: i64,
    realm: String,
    clock: Clock,
    keys: ArcSwap<Keys>,
    /// Locked while keys are replaced, so that concurrent replacements are serialized. Verification does not wait for it.
    replacing: Mutex<()>,
    remembered: Remembered,
    revoked: Revoked,
    /// The source of the keys; `None` for given keys.
    source: Option<Source>,
}

/// A weak reference to a guard.
#[cfg(feature = "issuer")]
pub(crate) struct WeakGuard(std::sync::Weak<Inner>);

#[cfg(feature = "issuer")]
impl WeakGuard {
    pub(crate) fn upgrade(&self) -> Option<Guard> {
        self.0.upgrade().map(Guard)
    }
}

impl Guard {
    /// Creates a guard with given keys and default settings, for the issuer itself and for tests.
    pub fn from_keys(
        issuer: impl Into<String>,
        audiences: impl IntoIterator<Item = impl Into<String>>,
        keys: &JwkSet,
    ) -> Result<Self, KeyError> {
        let mut builder = Self::builder(issuer);
        builder.audiences = audiences.into_iter().map(Into::into).collect();
        Self::with_keys(builder, keys)
    }

    /// Returns a builder for tokens of `issuer`. The URL must equal `iss` exactly (RFC 9068 §4).
    pub fn builder(issuer: impl Into<String>) -> GuardBuilder {
        GuardBuilder::new(issuer.into())
    }

    /// Returns a builder for a guard that fetches its keys from the issuer; [`GuardBuilder::build`] finishes it.
    ///
    /// A service can start while the issuer is down: keys are fetched when the first token arrives, and revocations
    /// (`GuardBuilder::follow_revocations`) in the background.
    #[cfg(feature = "issuer")]
    pub fn from_issuer(url: impl Into<String>) -> GuardBuilder {
        Self::builder(url)
    }

    pub(crate) fn with_keys(builder: GuardBuilder, keys: &JwkSet) -> Result<Self, KeyError> {
        let keys = Keys::of(keys, &Keys::default())?;
        Ok(Self(Arc::new(Inner::new(builder, keys))))
    }

    #[cfg(feature = "issuer")]
    pub(crate) fn with_source(builder: GuardBuilder, source: Source) -> Self {
        let mut inner = Inner::new(builder, Keys::default());
        inner.source = Some(source);
        Self(Arc::new(inner))
    }

    /// Returns a weak reference, which does not keep the guard alive.
    #[cfg(feature = "issuer")]
    pub(crate) fn downgrade(&self) -> WeakGuard {
        WeakGuard(Arc::downgrade(&self.0))
    }

    /// Replaces all keys. Tokens that were verified with a removed key are refused at once. A set with an error changes
    /// nothing.
    pub fn replace_keys(&self, keys: &JwkSet) -> Result<(), KeyError> {
        self.swap(|before| Keys::of(keys, before))
    }

    /// Replaces the keys by those that `make` returns, given the present ones.
    pub(crate) fn swap(&self, make: impl FnOnce(&Keys) -> Result<Keys, KeyError>) -> Result<(), KeyError> {
        // A poisoned lock is safe to use: the keys are swapped in a single step.
        let _one_at_a_time = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.0.keys.load_full();
        let after = Arc::new(make(&before)?);
        // In this order: a verification that starts after the store no longer finds the old keys, and the cached result
        // of an earlier one is refused by the mark on its key.
        self.0.keys.store(Arc::clone(&after));
        before.withdraw_all_but(&after);
        self.0.remembered.forget_withdrawn();
        Ok(())
    }

    /// Verifies a token at the time `now` (seconds since 1970) with the present keys, without waiting or I/O.
    ///
    /// Makes the checks of RFC 9068 §4 and RFC 8725 §3: `typ` is `at+jwt`, no `crit`, `alg` is that of the key with this
    /// `kid`, the signature, all required claims, `iss`, `aud`, `exp`, `nbf` and `iat`; and whether the guard knows a
    /// revocation of the token. For a token that was verified before, it computes a SHA-256 and checks only times,
    /// audience and revocations.
    pub fn verify(&self, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        self.verify_for(&self.0.audiences, token, now)
    }

    /// Verifies a token as [`Guard::verify`], for other audiences than the guard's own.
    pub fn verify_for(&self, audiences: &[String], token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify_for_anybody(token, now)?;
        let is_meant = claims.aud.as_slice().iter().any(|audience| audiences.contains(audience));
        if is_meant { Ok(claims) } else { Err(TokenError::WrongAudience) }
    }

    /// Verifies a token as [`Guard::verify`], for any audience. For the issuer itself: a service must check `aud` (RFC
    /// 9068 §4).
    pub fn verify_for_anybody(&self, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify_signed(token, now)?;
        // Checked at each use, never cached: a token must be refused as soon as its revocation is known.
        self.0.revoked.check(&claims)?;
        Ok(claims)
    }

    /// Adds revocations. `whole`: they are all revocations of the issuer, and replace the present ones.
    pub fn apply_revocations(&self, news: impl IntoIterator<Item = Revocation>, whole: bool) {
        self.0.revoked.apply(news, whole, self.now());
    }

    /// Adds revocations from a page that is not the last: the guard is not up to date yet.
    #[cfg(feature = "issuer")]
    pub(crate) fn learn_revocations(&self, news: impl IntoIterator<Item = Revocation>) {
        self.0.revoked.learn(news, self.now());
    }

    /// Returns the number of the last update of the revocations.
    #[cfg(feature = "issuer")]
    pub(crate) fn last_update(&self) -> u64 {
        self.0.revoked.last_update()
    }

    /// Returns whether a revocation of this API key or its owner has arrived after that update.
    #[cfg(feature = "issuer")]
    pub(crate) fn has_news_of_key(&self, key: &Claims, update: u64) -> bool {
        self.0.revoked.has_news_of_key(key, update)
    }

    /// Returns whether the guard has keys, and how old its revocations are.
    #[must_use]
    pub fn health(&self) -> Health {
        let failing = self.0.source.as_ref().is_some_and(Source::fails_to_follow);
        Health { keys: !self.0.keys.load().is_empty(), revocations: self.0.revoked.health(failing) }
    }

    fn verify_signed(&self, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        // Before the digest: otherwise anybody could make the guard hash and decode as much as the HTTP server lets through.
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let digest = Remembered::digest(token);
        if let Some(claims) = self.0.remembered.get(&digest) {
            return match self.0.check_times(&claims, now) {
                Ok(()) => Ok(claims),
                Err(error) => {
                    self.0.remembered.forget(&digest);
                    Err(error)
                }
            };
        }
        let (claims, key) = self.0.verify_uncached(token, now)?;
        self.0.remembered.insert(digest, token, Arc::clone(&claims), key);
        Ok(claims)
    }

    /// Verifies a token at the present time. If necessary, it first waits for the issuer's keys, if the token has an
    /// unknown key or there are no keys yet, and after the start up to five seconds for the issuer's revocations, if the
    /// guard follows them.
    ///
    /// Stale keys are still used while they are fetched in the background (stale-while-revalidate). Only if they have
    /// been stale for five minutes, because no token came, does a request wait for the new ones, for at most one second.
    ///
    /// An API key (`grk_…`) is accepted, too, if the guard does so (`GuardBuilder::accept_api_keys`): it waits for the
    /// issuer unless the verdict is cached.
    ///
    /// A guard that fetches its keys must be called in a Tokio runtime, as in every actix or axum service.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Claims>, AuthenticateError> {
        if is_api_key(token) {
            // On the heap: the futures of all requests with tokens would be larger otherwise.
            return match &self.0.source {
                Some(source) => Box::pin(source.verify_api_key(self, token)).await,
                None => Err(ApiKeyError::NotAccepted.into()),
            };
        }
        let now = self.now();
        let mut verdict = self.verify(token, now);
        if let Some(source) = &self.0.source {
            if self.waits_for_keys(source, &verdict, now) {
                source.wait_for_keys(self, verdict.is_err()).await;
                verdict = self.verify(token, self.now());
            }
            if waits_for_revocations(source, &verdict) {
                source.first_update().await;
                verdict = self.verify(token, self.now());
            }
        }
        self.with_availability(verdict)
    }

    /// Verifies a token without waiting. `None`: keys, revocations or the verdict on an API key should be waited for.
    #[cfg(feature = "actix")]
    pub(crate) fn authenticate_at_once(&self, token: &str) -> Option<Result<Arc<Claims>, AuthenticateError>> {
        if is_api_key(token) {
            return match &self.0.source {
                Some(source) => source.verdict_on_api_key(self, token),
                None => Some(Err(ApiKeyError::NotAccepted.into())),
            };
        }
        let now = self.now();
        let verdict = self.verify(token, now);
        if let Some(source) = &self.0.source
            && (self.waits_for_keys(source, &verdict, now) || waits_for_revocations(source, &verdict))
        {
            return None;
        }
        Some(self.with_availability(verdict))
    }

    fn waits_for_keys(&self, source: &Source, verdict: &Verdict, now: i64) -> bool {
        (*verdict == Err(TokenError::UnknownKey) || (verdict.is_ok() && source.is_stale(now)))
            && source.is_worth_waiting_for(self, now, verdict.is_err())
    }

    /// Maps errors that are no fault of the token to `Unavailable`: before the first fetch, every key is unknown.
    fn with_availability(&self, verdict: Verdict) -> Result<Arc<Claims>, AuthenticateError> {
        if let Some(source) = &self.0.source
            && verdict == Err(TokenError::UnknownKey)
            && source.never_reached()
        {
            return Err(AuthenticateError::Unavailable { retry_after: source.retry_after(self.now()) });
        }
        match verdict {
            Err(TokenError::RevocationsUnknown) => Err(AuthenticateError::Unavailable { retry_after: 1 }),
            verdict => Ok(verdict?),
        }
    }

    /// Returns the `iss` of accepted tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the audiences, of which a token must have at least one.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.0.audiences
    }

    /// Returns the `realm` of challenges.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.0.realm
    }

    /// Returns whether requests may carry an API key.
    #[cfg(any(feature = "actix", feature = "axum"))]
    pub(crate) fn accepts_api_keys(&self) -> bool {
        self.0.source.as_ref().is_some_and(Source::accepts_api_keys)
    }

    pub(crate) fn now(&self) -> i64 {
        (self.0.clock)()
    }

    #[cfg(feature = "issuer")]
    pub(crate) fn source(&self) -> Option<&Source> {
        self.0.source.as_ref()
    }

    #[cfg(any(feature = "actix", feature = "axum"))]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.remembered.len()
    }
}

fn waits_for_revocations(source: &Source, verdict: &Verdict) -> bool {
    *verdict == Err(TokenError::RevocationsUnknown) && source.expects_first_update()
}

impl Inner {
    fn new(builder: GuardBuilder, keys: Keys) -> Self {
        Self {
            issuer: builder.issuer,
            audiences: builder.audiences,
            leeway: builder.leeway.into(),
            realm: builder.realm,
            clock: builder.clock,
            keys: ArcSwap::from_pointee(keys),
            replacing: Mutex::new(()),
            remembered: Remembered::new(builder.remember),
            revoked: Revoked::new(builder.max_staleness),
            source: None,
        }
    }

    /// Verifies a token that is not cached, except for audience and revocations.
    fn verify_uncached(&self, token: &str, now: i64) -> Result<(Arc<Claims>, Arc<Key>), TokenError> {
        let parts = Parts::of(token)?;
        parts.header.check()?;
        let kid = parts.header.kid.as_deref().ok_or(TokenError::NoKeyId)?;
        let key = self.keys.load().get(kid).cloned().ok_or(TokenError::UnknownKey)?;
        // The key determines the algorithm, not the token (RFC 8725 §3.1).
        if parts.header.alg != key.algorithm() {
            return Err(TokenError::WrongAlgorithm);
        }
        if !key.signed(parts.signed, &parts.signature) {
            return Err(TokenError::Signature);
        }
        // After the signature: nothing of the payload is parsed that the issuer did not sign.
        let claims = parts.claims()?;
        if claims.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        self.check_times(&claims, now)?;
        Ok((Arc::new(claims), key))
    }

    /// Checks the times, which a cached token must pass again at each use.
    fn check_times(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let latest_begin = now.saturating_add(self.leeway);
        if claims.exp <= now {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > latest_begin) {
            return Err(TokenError::NotYetValid);
        }
        if claims.iat > latest_begin { Err(TokenError::IssuedInFuture) } else { Ok(()) }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("issuer", &self.0.issuer)
            .field("audiences", &self.0.audiences)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
