//! The errors of the OAuth endpoints (RFC 6749 §5.2), and how other errors are told there.

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use grantd_guard::Refusal;
use serde::Serialize;

use crate::{error::Error, store::StoreError};

/// The realm of challenges.
const REALM: &str = "grantd";
/// Seconds after which a request that found the server busy or its database away may come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error answer of an OAuth endpoint.
#[derive(Debug)]
pub(crate) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    reason: Option<&'static str>,
    /// Names and values of headers that belong to it.
    headers: Vec<(&'static str, String)>,
    /// What went wrong here, for the log alone.
    cause: Option<Box<str>>,
}

/// The body of an error (RFC 6749 §5.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OAuthError)]
pub(crate) struct OAuthErrorBody<'a> {
    /// For programs.
    #[schema(example = "invalid_grant")]
    error: &'a str,
    /// For people.
    error_description: &'a str,
    /// More about `invalid_grant`, after the right password only: `account_disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl OAuthError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, description: description.into(), reason: None, headers: Vec::new(), cause: None }
    }

    fn bad_request(error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    pub(crate) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request("invalid_request", description)
    }

    /// The client is unknown or failed to prove itself. `basic`: it tried to by HTTP Basic.
    pub(crate) fn invalid_client(basic: bool) -> Self {
        let mut error =
            Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "the client is unknown or its credentials are wrong");
        if basic {
            error.headers.push((WWW_AUTHENTICATE.as_str(), "Basic realm=\"grantd\"".to_owned()));
        }
        error
    }

    /// One answer for an unknown user and a wrong password.
    pub(crate) fn wrong_password() -> Self {
        Self::bad_request("invalid_grant", "the user name or the password is wrong")
    }

    /// Whatever is wrong with it: a thief learns nothing.
    pub(crate) fn bad_refresh_token() -> Self {
        Self::bad_request("invalid_grant", "the refresh token is invalid, expired, revoked or was used before")
    }

    pub(crate) fn account_disabled() -> Self {
        let mut error = Self::bad_request("invalid_grant", "the account is disabled");
        error.reason = Some("account_disabled");
        error
    }

    pub(crate) fn unauthorized_client() -> Self {
        Self::bad_request("unauthorized_client", "this client may not use this grant")
    }

    pub(crate) fn unsupported_grant_type() -> Self {
        Self::bad_request("unsupported_grant_type", "this grant is not supported; the metadata names those that are")
    }

    pub(crate) fn invalid_scope(description: &'static str) -> Self {
        Self::bad_request("invalid_scope", description)
    }

    pub(crate) fn invalid_target() -> Self {
        Self::bad_request("invalid_target", "the resource is not among the audiences of this client")
    }

    /// For a token of another client (RFC 7009 §2.1).
    pub(crate) fn not_this_clients() -> Self {
        Self::bad_request("invalid_grant", "the token was issued to another client")
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let mut error =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", format!("the method must be {allow}"));
        error.headers.push((ALLOW.as_str(), allow.to_owned()));
        error
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large: 16 KiB are allowed")
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the body took too long to come")
    }

    fn unavailable(description: &'static str) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description);
        error.headers.push((RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS.to_owned()));
        error
    }

    fn server_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "")
    }

    /// What went wrong on this side.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn because(mut self, cause: &dyn fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// For an error that actix made at one of these paths.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            status if status.is_server_error() => Self::server_error(),
            status => Self::new(status, "invalid_request", "the request is malformed"),
        }
    }

    /// The answer, which names the request where that helps to find it in the log.
    pub(crate) fn render(&self, request_id: &str) -> HttpResponse {
        let mut answer = super::uncached(self.status);
        for (name, value) in &self.headers {
            answer.insert_header((*name, value.as_str()));
        }
        let internal = format!("an internal error; the log has more under request id {request_id}");
        let description = if self.error == "server_error" { &internal } else { &*self.description };
        answer.json(OAuthErrorBody { error: self.error, error_description: description, reason: self.reason })
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.description)
    }
}

impl std::error::Error for OAuthError {}

impl ResponseError for OAuthError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.render("unknown")
    }
}

impl From<Error> for OAuthError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSigningKey => {
                Self::unavailable("the signing keys cannot be unsealed with the master key of this server")
                    .because(&error)
            }
            Error::HashQueueFull => Self::unavailable("too many logins at once; try again a little later"),
            Error::Store(StoreError::Unavailable(_) | StoreError::Repeat(_)) => {
                Self::unavailable("the database is away; try again a little later").because(&error)
            }
            Error::Store(_)
            | Error::Invalid(_)
            | Error::Taken { .. }
            | Error::NotFound { .. }
            | Error::MissingScopes(_)
            | Error::RuleViolation(_)
            | Error::Internal(_) => Self::server_error().because(&error),
        }
    }
}

/// For an access token with which somebody calls (RFC 6750 §3).
impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal {
            Refusal::NoCredentials => "invalid_client",
            Refusal::Credentials(_) => "invalid_request",
            Refusal::Token(_) => "invalid_token",
            Refusal::Scope(_) => "insufficient_scope",
            Refusal::Unavailable { .. } => {
                return Self::unavailable("tokens cannot be checked; try again a little later");
            }
            _ => return Self::server_error(),
        };
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let description = match &refusal {
            Refusal::Scope(_) => "the token lacks a scope that is needed here".to_owned(),
            refusal => refusal.detail(),
        };
        let mut answer = Self::new(status, error, description);
        answer.headers.extend(refusal.challenge(REALM).map(|challenge| (WWW_AUTHENTICATE.as_str(), challenge)));
        answer
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Error::Store(error).into()
    }
}
