//! Refusals of requests (RFC 6750 §3): status, challenge, and the members of the problem body (RFC 9457).

use crate::{ApiKeyError, AuthenticateError, Scopes, TokenError};

/// The reason for which a request is refused, with all parts of the response, independent of an HTTP library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request has no token: 401, without an error code (RFC 6750 §3.1).
    #[error("no access token was sent")]
    NoCredentials,
    /// The credentials are malformed: 400 `invalid_request`.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The token is invalid: 401 `invalid_token`.
    #[error(transparent)]
    Token(TokenError),
    /// The API key is invalid: 401 `invalid_token`.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyError),
    /// The token lacks a scope: 403 `insufficient_scope`. Contains the required scopes.
    #[error("the access token lacks a required scope: {0}")]
    Scope(Scopes),
    /// The keys or revocations of the issuer are not available: 503.
    #[error("access tokens cannot be verified now; retry later")]
    Unavailable {
        /// Seconds for `Retry-After`.
        retry_after: u32,
    },
    /// The service has no [`Guard`](crate::Guard) for this route: 500. This is a bug of the service.
    #[error("this route has no guard to verify access tokens")]
    NoGuard,
}

/// An error in how the credentials were sent (RFC 6750 §2, §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Two credentials, such as two `Authorization` headers, or a token in the header and one in the query.
    #[error("the request has credentials in several places; send one, in the Authorization header")]
    TwoPlaces,
    /// `Bearer` is not followed by one token.
    #[error("the Authorization header is malformed; send `Bearer` and one token")]
    Malformed,
}

impl From<AuthenticateError> for Refusal {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Token(error) => error.into(),
            AuthenticateError::ApiKey(error) => error.into(),
            AuthenticateError::Unavailable { retry_after } => Self::Unavailable { retry_after },
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            // Not the fault of the token: with 401, clients would discard a valid token.
            TokenError::RevocationsUnknown => Self::Unavailable { retry_after: 1 },
            error => Self::Token(error),
        }
    }
}

impl Refusal {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Credentials(_) => 400,
            Self::NoCredentials | Self::Token(_) | Self::ApiKey(_) => 401,
            Self::Scope(_) => 403,
            Self::NoGuard => 500,
            Self::Unavailable { .. } => 503,
        }
    }

    /// Returns the `Bearer` challenge for `WWW-Authenticate` (RFC 6750 §3). `None` for errors of the service (5xx).
    ///
    /// `realm` is not escaped: it must not have a quote or a backslash.
    #[must_use]
    pub fn challenge(&self, realm: &str) -> Option<String> {
        let of = |error: &str, more: &str| format!("Bearer realm=\"{realm}\", error=\"{error}\", {more}");
        Some(match self {
            Self::NoCredentials => format!("Bearer realm=\"{realm}\""),
            Self::Credentials(_) => of("invalid_request", &format!("error_description=\"{}\"", self.detail())),
            Self::Token(_) | Self::ApiKey(_) => {
                of("invalid_token", &format!("error_description=\"{}\"", self.detail()))
            }
            Self::Scope(needed) => of("insufficient_scope", &format!("scope=\"{needed}\"")),
            Self::Unavailable { .. } | Self::NoGuard => return None,
        })
    }

    /// All values of [`problem_type`](Self::problem_type), for which a service should have documentation.
    pub const PROBLEM_TYPES: [&'static str; 6] = [
        "/problems/invalid-request",
        "/problems/unauthorized",
        "/problems/invalid-token",
        "/problems/insufficient-scope",
        "/problems/internal",
        "/problems/unavailable",
    ];

    /// Returns the `type` of the problem body: a stable relative URI.
    #[must_use]
    pub const fn problem_type(&self) -> &'static str {
        let [invalid_request, unauthorized, invalid_token, insufficient_scope, internal, unavailable] =
            Self::PROBLEM_TYPES;
        match self {
            Self::Credentials(_) => invalid_request,
            Self::NoCredentials => unauthorized,
            Self::Token(_) | Self::ApiKey(_) => invalid_token,
            Self::Scope(_) => insufficient_scope,
            Self::NoGuard => internal,
            Self::Unavailable { .. } => unavailable,
        }
    }

    /// Returns the `title` of the problem body.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "Invalid request",
            Self::NoCredentials => "Authentication required",
            Self::Token(_) | Self::ApiKey(_) => "Invalid token",
            Self::Scope(_) => "Insufficient scope",
            Self::NoGuard => "Internal error",
            Self::Unavailable { .. } => "Temporarily unavailable",
        }
    }

    /// Returns the `detail` of the problem body. It has no part of the input.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Token(error) => error.description().to_owned(),
            other => other.to_string(),
        }
    }
}
