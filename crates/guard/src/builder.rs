//! The builder of a guard.

use std::{fmt, time::Duration};

use jsonwebtoken::jwk::JwkSet;

use crate::{BuildError, Guard, clock, clock::Clock};

/// The maximum clock skew, in seconds. A larger leeway would in effect change the lifetime of tokens.
pub const MAX_LEEWAY: u32 = 30;

/// A builder for a [`Guard`]. [`Guard::from_issuer`] and [`Guard::builder`] create one; [`GuardBuilder::build`] (fetches
/// the keys from the issuer) or [`GuardBuilder::keys`] (given keys) finishes it.
#[must_use]
#[derive(Clone)]
pub struct GuardBuilder {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) leeway: u32,
    pub(crate) realm: String,
    pub(crate) clock: Clock,
    pub(crate) remember: usize,
    pub(crate) max_staleness: Option<Duration>,
    #[cfg(feature = "issuer")]
    pub(crate) cool_down: u32,
    #[cfg(feature = "issuer")]
    pub(crate) allow_http: bool,
    #[cfg(feature = "issuer")]
    pub(crate) follow: Option<crate::issuer::Credentials>,
    #[cfg(feature = "issuer")]
    pub(crate) accept_api_keys: bool,
}

impl GuardBuilder {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            issuer,
            audiences: Vec::new(),
            leeway: MAX_LEEWAY,
            realm: "grantd".to_owned(),
            clock: clock::system(),
            remember: 16 * 1024 * 1024,
            max_staleness: None,
            #[cfg(feature = "issuer")]
            cool_down: 10,
            #[cfg(feature = "issuer")]
            allow_http: false,
            #[cfg(feature = "issuer")]
            follow: None,
            #[cfg(feature = "issuer")]
            accept_api_keys: false,
        }
    }

    /// Accepts tokens whose `aud` has this audience (RFC 9068 §4). Further calls add audiences; a token needs one of
    /// them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets the leeway for clock skew: how many seconds in the future `iat` and `nbf` may be. At most [`MAX_LEEWAY`],
    /// which is also the default. `exp` has no leeway: clients know it, and get a new token in time.
    pub fn leeway(mut self, seconds: u32) -> Self {
        self.leeway = seconds;
        self
    }

    /// Sets the `realm` of challenges (RFC 9110 §11.5). Default: `grantd`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Sets the clock (seconds since 1970), for tests. Default: the system clock.
    pub fn clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = std::sync::Arc::new(clock);
        self
    }

    /// Sets the size of the cache of verified tokens, in bytes of token. Default: 16 MiB. `0` disables the cache.
    pub fn remember(mut self, bytes: usize) -> Self {
        self.remember = bytes;
        self
    }

    /// Sets the maximum staleness of revocations. Without an update for longer than this, and before the first one, no
    /// token is accepted. Updates come from [`Guard::apply_revocations`], or from the issuer's feed
    /// (`follow_revocations`).
    pub fn max_staleness(mut self, most: Duration) -> Self {
        self.max_staleness = Some(most);
        self
    }

    /// Builds a guard with given keys, such as in the issuer itself. [`Guard::replace_keys`] replaces them.
    pub fn keys(self, keys: &JwkSet) -> Result<Guard, BuildError> {
        self.check()?;
        // An error, since a guard without an issuer would silently not follow any revocations.
        #[cfg(feature = "issuer")]
        if self.follow.is_some() {
            return Err(BuildError::CannotFollow);
        }
        #[cfg(feature = "issuer")]
        if self.accept_api_keys {
            return Err(BuildError::CannotIntrospect);
        }
        Ok(Guard::with_keys(self, keys)?)
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.leeway > MAX_LEEWAY {
            return Err(BuildError::Leeway(self.leeway));
        }
        if self.audiences.is_empty() {
            return Err(BuildError::NoAudience);
        }
        let plain = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if self.realm.bytes().all(plain) { Ok(()) } else { Err(BuildError::Realm) }
    }
}

impl fmt::Debug for GuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}
