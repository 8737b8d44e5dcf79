//! What can go wrong: with a token, with keys, with the settings of a guard.

use std::fmt;

/// Why a token is refused.
///
/// Each check has its own variant, so that the log and `error_description` (RFC 6750 §3) say which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    TooLong,
    /// Not three parts of base64url with a JSON object in the first (RFC 7515 §3.1), or a repeated header parameter.
    Malformed,
    /// The header has `crit`: no extension is known here (RFC 7515 §4.1.11).
    Critical,
    /// `typ` is not `at+jwt` (RFC 9068 §2.1): an ID token, for example, is no access token.
    WrongType,
    /// The header has no `kid`.
    NoKeyId,
    /// `kid` names no key that the issuer has now.
    UnknownKey,
    /// `alg` is not the algorithm of the key that `kid` names (RFC 8725 §3.1).
    WrongAlgorithm,
    /// The signature is not that of the key.
    Signature,
    /// A claim that RFC 9068 §2.2 requires is missing; the name of the claim.
    MissingClaim(&'static str),
    /// The payload is not a JSON object, a claim is repeated, or one has the wrong type.
    MalformedClaims,
    /// `iss` is another issuer.
    WrongIssuer,
    /// `aud` has none of the audiences of this guard.
    WrongAudience,
    /// `exp` is reached.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// The token, or the session, user or client that it stands on, was revoked: known to a guard that follows
    /// revocations, or to a service that checks its own data too.
    Revoked,
    /// Nothing is wrong with the token itself, but this guard has not heard for too long what was revoked.
    RevocationsUnknown,
}

impl TokenError {
    /// Text for `error_description`: made of the characters that RFC 6750 §3 allows, and never a repetition of input.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Malformed => "the token is not a signed JWT",
            Self::Critical => "the token has an unsupported critical header extension",
            Self::WrongType => "the token is not an access token: its typ is not at+jwt",
            Self::NoKeyId => "the token does not name its key",
            Self::UnknownKey => "the token was signed with an unknown key",
            Self::WrongAlgorithm => "the algorithm of the token is not that of its key",
            Self::Signature => "the signature of the token is wrong",
            Self::MissingClaim(_) => "a required claim of the token is missing",
            Self::MalformedClaims => "the claims of the token are malformed",
            Self::WrongIssuer => "the token was issued by another issuer",
            Self::WrongAudience => "the token is for another audience",
            Self::Expired => "the token expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::IssuedInFuture => "the token was issued in the future",
            Self::Revoked => "the token was revoked",
            Self::RevocationsUnknown => "it cannot be verified whether the token was revoked",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingClaim(name) => write!(f, "the claim {name} is missing"),
            other => f.write_str(other.description()),
        }
    }
}

impl std::error::Error for TokenError {}

/// Why a set of keys is refused as a whole.
///
/// Keys that are merely not for this use (another `kty`, `crv` or `alg`, `use` other than `sig`, no `kid`) are skipped, as
/// RFC 7517 §5 says; a key that should work and does not is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The public key of this `kid` cannot be one of its kind.
    #[error("the key {0:?} is malformed")]
    Malformed(String),
    /// Two usable keys have this `kid`: a token could not say which it means.
    #[error("two keys are named {0:?}")]
    Repeated(String),
    /// An issuer's set has no key that can check a signature.
    #[error("the set has no usable signature key")]
    Empty,
}

/// Why a guard could not be built from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The leeway is more than [`MAX_LEEWAY`](crate::MAX_LEEWAY).
    #[error("the leeway is {0} seconds; at most 30 are allowed")]
    Leeway(u32),
    /// No audience was named, so that no token could be accepted.
    #[error("no audience: name the one that tokens for this service carry in `aud`")]
    NoAudience,
    /// The realm has characters that a quoted string of `WWW-Authenticate` cannot have as they are.
    #[error("the realm may have printable ASCII only, without quote and backslash")]
    Realm,
    /// The cool-down is no time at all: every token could make the guard ask the issuer.
    #[error("the cool-down must be at least one second")]
    CoolDown,
    /// The issuer is no URL that keys may be fetched from.
    #[error("the issuer {url:?} is refused: {reason}")]
    Issuer {
        /// The URL as it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Client(String),
    /// Revocations are to be followed, and the keys are at hand: only a guard that fetches its keys knows where to ask.
    #[error("only a guard that fetches its keys from the issuer can follow the issuer's revocations")]
    NobodyToFollow,
    /// The thread that follows the issuer's revocations could not be started.
    #[error("the thread that follows the issuer's revocations could not be started: {0}")]
    Thread(String),
    /// The keys are not usable.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Why [`Guard::authenticate`](crate::Guard::authenticate) did not give claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The issuer was never reached, or not for too long, so that nothing can be said about the token.
    #[error("the issuer cannot be reached")]
    Unavailable {
        /// Seconds after which a new attempt makes sense.
        retry_after: u32,
    },
}
