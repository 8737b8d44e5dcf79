//! Errors of tokens, keys, and the settings of a guard.

use std::fmt;

/// The reason for which a token is refused.
///
/// Each check has a variant of its own, so that the log and `error_description` (RFC 6750 §3) name the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    TooLong,
    /// Not three parts of base64url with a JSON object in the first (RFC 7515 §3.1), or a repeated header parameter.
    Malformed,
    /// The header has `crit`: no extension is supported (RFC 7515 §4.1.11).
    Critical,
    /// `typ` is not `at+jwt` (RFC 9068 §2.1). An ID token, for example, is not an access token.
    WrongType,
    /// The header has no `kid`.
    NoKeyId,
    /// `kid` is not a key that the issuer publishes now.
    UnknownKey,
    /// `alg` is not the algorithm of the key that `kid` names (RFC 8725 §3.1).
    WrongAlgorithm,
    /// The signature is wrong.
    Signature,
    /// A claim that RFC 9068 §2.2 requires is missing; the name of the claim.
    MissingClaim(&'static str),
    /// The payload is not a JSON object, a claim is repeated, or one has the wrong type.
    MalformedClaims,
    /// `iss` is not the issuer of this guard.
    WrongIssuer,
    /// `aud` has none of the audiences of this guard.
    WrongAudience,
    /// `exp` is not in the future.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// The token, or its session, user or client, was revoked. Reported by a guard that follows revocations, or by a
    /// service that checks its own data.
    Revoked,
    /// The token itself is valid, but the guard's revocations are older than the maximum staleness.
    RevocationsUnknown,
}

impl TokenError {
    /// Returns the text for `error_description`. It has only characters that RFC 6750 §3 allows, and no part of the
    /// input.
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

/// The reason for which an API key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// Not the format of an API key, or a wrong checksum: a typo.
    Malformed,
    /// Unknown, expired or deleted.
    Inactive,
    /// Expired.
    Expired,
    /// The owner is disabled.
    OwnerDisabled,
    /// The key is for other services.
    WrongAudience,
    /// The issuer does not report the key as active to this service: it is unknown, expired, deleted or for other
    /// services, or its owner is disabled.
    Refused,
    /// This service does not accept API keys (`GuardBuilder::accept_api_keys`).
    NotAccepted,
}

impl ApiKeyError {
    /// Returns the text for `error_description`, like [`TokenError::description`].
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "the API key is malformed: its checksum is wrong",
            Self::Inactive => "the API key is unknown, or was deleted",
            Self::Expired => "the API key expired",
            Self::OwnerDisabled => "the owner of the API key is disabled",
            Self::WrongAudience => "the API key is for another audience",
            Self::Refused => "the API key is not active for this service",
            Self::NotAccepted => "this service does not accept API keys",
        }
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for ApiKeyError {}

/// The reason for which a whole JWK set is refused.
///
/// Keys for other uses (another `kty`, `crv` or `alg`, `use` other than `sig`, no `kid`) are skipped (RFC 7517 §5). A
/// malformed key of a supported type is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The public key with this `kid` is not valid for its type.
    #[error("the key {0:?} is malformed")]
    Malformed(String),
    /// Two usable keys have this `kid`, which makes it ambiguous.
    #[error("two keys are named {0:?}")]
    Repeated(String),
    /// The issuer's set has no key for signatures.
    #[error("the set has no usable signature key")]
    Empty,
}

/// The reason for which a guard cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The leeway is more than [`MAX_LEEWAY`](crate::MAX_LEEWAY).
    #[error("the leeway is {0} seconds; at most 30 are allowed")]
    Leeway(u32),
    /// No audience is set, so that no token could be accepted.
    #[error("no audience: name the one that tokens for this service carry in `aud`")]
    NoAudience,
    /// The realm has characters that a quoted string in `WWW-Authenticate` must escape.
    #[error("the realm may have printable ASCII only, without quote and backslash")]
    Realm,
    /// The cool-down is zero: every token with an unknown key could cause a request to the issuer.
    #[error("the cool-down must be at least one second")]
    CoolDown,
    /// Keys may not be fetched from the URL of the issuer.
    #[error("the issuer {url:?} is refused: {reason}")]
    Issuer {
        /// The given URL.
        url: String,
        /// The problem.
        reason: &'static str,
    },
    /// The HTTP client could not be created.
    #[error("the HTTP client could not be created: {0}")]
    Client(String),
    /// Following revocations needs a guard that fetches its keys: with given keys, the endpoint of the feed is unknown.
    #[error("only a guard that fetches its keys from the issuer can follow the issuer's revocations")]
    CannotFollow,
    /// API keys are verified by the issuer, as the client that follows its revocations.
    #[error("accepting API keys needs `Guard::from_issuer` and `follow_revocations`")]
    CannotIntrospect,
    /// The thread that follows the issuer's revocations could not be started.
    #[error("the thread that follows the issuer's revocations could not be started: {0}")]
    Thread(String),
    /// The keys are not usable.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// The error of [`Guard::authenticate`](crate::Guard::authenticate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API key is refused.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyError),
    /// The issuer was never reached, or not for too long, so the token cannot be verified; or it
    /// cannot be asked about an API key now.
    #[error("the issuer cannot be reached")]
    Unavailable {
        /// Seconds after which a retry makes sense.
        retry_after: u32,
    },
}
