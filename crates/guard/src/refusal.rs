//! How a request is refused (RFC 6750 §3): status, challenge, and the members of the problem body (RFC 9457).

use crate::{AuthenticateError, Scopes, TokenError};

/// Why a request is refused, with everything that an answer needs and no HTTP library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No token came: 401, without an error code (RFC 6750 §3.1).
    #[error("no access token was sent")]
    NoCredentials,
    /// The token came in a way that is none: 400 `invalid_request`.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The token is refused: 401 `invalid_token`.
    #[error(transparent)]
    Token(TokenError),
    /// The token is good, and not for this: 403 `insufficient_scope`. What would be needed.
    #[error("the access token lacks a required scope: {0}")]
    Scope(Scopes),
    /// The issuer's keys were never there, or it is not known what was revoked: 503.
    #[error("access tokens cannot be verified now; retry later")]
    Unavailable {
        /// Seconds for `Retry-After`.
        retry_after: u32,
    },
    /// The service has no [`Guard`](crate::Guard) at this route: 500. A bug in the service.
    #[error("this route has no guard to verify access tokens")]
    NoGuard,
}

/// What is wrong with the way credentials were sent (RFC 6750 §2, §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Two `Authorization` headers, or a token in the header and one in the query.
    #[error("the request has credentials in several places; send one token, in the Authorization header")]
    TwoPlaces,
    /// `Bearer` is not followed by one token.
    #[error("the Authorization header is malformed; send `Bearer` and one token")]
    Malformed,
}

impl From<AuthenticateError> for Refusal {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Token(error) => error.into(),
            AuthenticateError::Unavailable { retry_after } => Self::Unavailable { retry_after },
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            // Nothing is wrong with the token.
            TokenError::RevocationsUnknown => Self::Unavailable { retry_after: 1 },
            error => Self::Token(error),
        }
    }
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Credentials(_) => 400,
            Self::NoCredentials | Self::Token(_) => 401,
            Self::Scope(_) => 403,
            Self::NoGuard => 500,
            Self::Unavailable { .. } => 503,
        }
    }

    /// The `Bearer` challenge for `WWW-Authenticate` (RFC 6750 §3); none where the fault is on this side.
    ///
    /// `realm` is taken as it is: it must not have a quote or a backslash.
    #[must_use]
    pub fn challenge(&self, realm: &str) -> Option<String> {
        let of = |error: &str, more: &str| format!("Bearer realm=\"{realm}\", error=\"{error}\", {more}");
        Some(match self {
            Self::NoCredentials => format!("Bearer realm=\"{realm}\""),
            Self::Credentials(_) => of("invalid_request", &format!("error_description=\"{}\"", self.detail())),
            Self::Token(_) => of("invalid_token", &format!("error_description=\"{}\"", self.detail())),
            Self::Scope(needed) => of("insufficient_scope", &format!("scope=\"{needed}\"")),
            Self::Unavailable { .. } | Self::NoGuard => return None,
        })
    }

    /// Every [`problem_type`](Self::problem_type): what a service has to explain.
    pub const PROBLEM_TYPES: [&'static str; 6] = [
        "/problems/invalid-request",
        "/problems/unauthorized",
        "/problems/invalid-token",
        "/problems/insufficient-scope",
        "/problems/internal",
        "/problems/unavailable",
    ];

    /// `type` of the problem body: a relative URI that stays the same.
    #[must_use]
    pub const fn problem_type(&self) -> &'static str {
        let [invalid_request, unauthorized, invalid_token, insufficient_scope, internal, unavailable] =
            Self::PROBLEM_TYPES;
        match self {
            Self::Credentials(_) => invalid_request,
            Self::NoCredentials => unauthorized,
            Self::Token(_) => invalid_token,
            Self::Scope(_) => insufficient_scope,
            Self::NoGuard => internal,
            Self::Unavailable { .. } => unavailable,
        }
    }

    /// `title` of the problem body.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "Invalid request",
            Self::NoCredentials => "Authentication required",
            Self::Token(_) => "Invalid access token",
            Self::Scope(_) => "Insufficient scope",
            Self::NoGuard => "Internal error",
            Self::Unavailable { .. } => "Temporarily unavailable",
        }
    }

    /// `detail` of the problem body. It never repeats input.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Token(error) => error.description().to_owned(),
            other => other.to_string(),
        }
    }
}
