//! Errors of the OAuth endpoints (RFC 6749 §5.2), and the translation of other errors to them.

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use grantd_guard::{Refusal, Scope, Scopes};
use serde::Serialize;

use crate::{
    clients::GrantType, error::Error, http::rate_limit, login::Refused, names::ClientId, store::StoreError,
    throttle::Throttled,
};

/// The realm of challenges.
const REALM: &str = "grantd";
/// `Retry-After`, in seconds, where the server is busy or its database unavailable.
const RETRY_AFTER_SECONDS: &str = "1";
/// Longest name of a scope that a description repeats, in bytes. A pasted token is longer.
const MAX_SCOPE_NAME: usize = 64;

/// An error response of an OAuth endpoint.
#[derive(Debug)]
pub(crate) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    reason: Option<&'static str>,
    /// Names and values of its headers.
    headers: Vec<(&'static str, String)>,
    /// What failed in the server. Goes to the log only.
    cause: Option<Box<str>>,
    /// Why the request was refused, more precisely than `description`. Goes to the log only.
    logged: Option<&'static str>,
}

/// The body of an error (RFC 6749 §5.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OAuthError)]
pub(crate) struct OAuthErrorBody<'a> {
    /// Error code.
    #[schema(example = "invalid_grant")]
    error: &'a str,
    /// Description.
    error_description: &'a str,
    /// More about `invalid_grant`, after the right password only: `account_disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl OAuthError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        let (description, headers) = (description.into(), Vec::new());
        Self { status, error, description, reason: None, headers, cause: None, logged: None }
    }

    fn bad_request(error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    pub(crate) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request("invalid_request", description)
    }

    /// The client is unknown or failed to authenticate. `basic`: it used HTTP Basic.
    pub(crate) fn invalid_client(basic: bool) -> Self {
        let mut error =
            Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "the client is unknown or its credentials are wrong");
        if basic {
            error.headers.push((WWW_AUTHENTICATE.as_str(), "Basic realm=\"grantd\"".to_owned()));
        }
        error
    }

    /// The request has no client authentication, and needs it.
    pub(crate) fn lacks_client_authentication(basic: bool) -> Self {
        Self { description: "client authentication is required".into(), ..Self::invalid_client(basic) }
    }

    /// A client sent an `Authorization` header of another scheme. Only a well-known one is named: the rest may be a token.
    pub(crate) fn wrong_scheme(found: Option<&'static str>) -> Self {
        let mut error = Self::invalid_client(true).logged("Authorization scheme is not Basic");
        error.description = match found {
            Some(found) => {
                format!("the Authorization header has the scheme {found}; clients authenticate with Basic").into()
            }
            None => "the Authorization header must have the scheme Basic".into(),
        };
        error
    }

    /// One response for an unknown user and a wrong password; the log tells them apart.
    pub(crate) fn wrong_password(logged: &'static str) -> Self {
        Self::bad_request("invalid_grant", "the username or password is wrong").logged(logged)
    }

    /// One response whatever is wrong with the token, so that a thief learns nothing; the log says what it is.
    pub(crate) fn bad_refresh_token(logged: &'static str) -> Self {
        let description = "the refresh token is invalid, expired, revoked or already used; log in again";
        Self::bad_request("invalid_grant", description).logged(logged)
    }

    pub(crate) fn account_disabled() -> Self {
        let mut error =
            Self::bad_request("invalid_grant", "the account is disabled; ask an administrator to enable it");
        error.reason = Some("account_disabled");
        error
    }

    /// The client may not use the grant. Only the client `default` is named, which a request need not name.
    pub(crate) fn unauthorized_client(client: &ClientId, grant: GrantType) -> Self {
        let client = if *client == ClientId::default_client() { "the client default" } else { "this client" };
        Self::bad_request("unauthorized_client", format!("{client} may not use {}", grant.as_str()))
    }

    pub(crate) fn unsupported_grant_type() -> Self {
        Self::bad_request(
            "unsupported_grant_type",
            "unsupported grant_type; see grant_types_supported in the server metadata",
        )
    }

    pub(crate) fn invalid_scope(description: &'static str) -> Self {
        Self::bad_request("invalid_scope", description)
    }

    /// Names the first of these scopes, unless it is too long to be the name of a scope. The log does not name it: it is input.
    pub(crate) fn invalid_scopes(scopes: &Scopes, problem: &'static str) -> Self {
        let name = scopes.iter().map(Scope::as_str).find(|name| name.len() <= MAX_SCOPE_NAME);
        let description =
            name.map_or_else(|| format!("a scope {problem}"), |name| format!("the scope {name} {problem}"));
        Self::bad_request("invalid_scope", description).logged(problem)
    }

    pub(crate) fn invalid_target() -> Self {
        Self::bad_request("invalid_target", "the resource is not an audience of this client")
    }

    /// For a token of another client (RFC 7009 §2.1).
    pub(crate) fn not_this_clients() -> Self {
        Self::bad_request("invalid_grant", "the token was issued to another client")
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let mut error =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", format!("method not allowed; use {allow}"));
        error.headers.push((ALLOW.as_str(), allow.to_owned()));
        error
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body is larger than 16 KiB")
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the body took too long to arrive")
    }

    /// Too many wrong passwords or secrets were sent.
    pub(crate) fn throttled(throttled: &Throttled) -> Self {
        let Throttled { quota, retry_after, budget, .. } = *throttled;
        Self::slow_down(retry_after, "too many failed attempts; retry later")
            .logged(rate_limit::reason(budget))
            .with_header(rate_limit::POLICY, rate_limit::policy("login", quota))
            .with_header(rate_limit::LIMIT, rate_limit::limit("login", 0, retry_after))
    }

    /// The caller is throttled, for `retry_after` seconds.
    pub(crate) fn slow_down(retry_after: u64, description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "slow_down", description)
            .with_header(RETRY_AFTER.as_str(), retry_after.to_string())
    }

    /// Returns names and values of its headers.
    pub(crate) fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// Returns the error with a further header, or a further line of one.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn stopping() -> Self {
        Self::unavailable("the server is shutting down; retry later")
    }

    fn unavailable(description: &'static str) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description);
        error.headers.push((RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS.to_owned()));
        error
    }

    fn server_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "")
    }

    /// Returns the error with the reason that goes to the log.
    pub(crate) fn logged(self, reason: &'static str) -> Self {
        Self { logged: Some(reason), ..self }
    }

    /// Returns the reason for the log, such as `invalid_grant: wrong password`. It has nothing that was typed.
    pub(crate) fn log_reason(&self) -> String {
        format!("{}: {}", self.error, self.logged.unwrap_or(&self.description))
    }

    /// Returns what failed in the server.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn because(mut self, cause: &dyn fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// Translates an error that actix made at one of these paths.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            status if status.is_server_error() => Self::server_error(),
            status => Self::new(status, "invalid_request", "the request is malformed"),
        }
    }

    /// Returns the response. An internal error names the request id, to find it in the log.
    pub(crate) fn render(&self, request_id: &str) -> HttpResponse {
        let mut answer = super::uncached(self.status);
        for (name, value) in &self.headers {
            answer.append_header((*name, value.as_str()));
        }
        let internal = format!("internal error; see the log of the server for request id {request_id}");
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

impl From<Refused> for OAuthError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wrong(reason) => Self::wrong_password(reason),
            Refused::Disabled => Self::account_disabled(),
            Refused::Throttled(throttled) => Self::throttled(&throttled),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<Error> for OAuthError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSigningKey => Self::unavailable(
                "the server cannot use its signing keys: its master key is not the one they were sealed with",
            )
            .because(&error),
            Error::HashQueueFull => Self::unavailable("too many logins at once; retry later"),
            Error::Store(StoreError::Unavailable(_) | StoreError::Repeat(_)) => {
                Self::unavailable("the database is unavailable; retry later").because(&error)
            }
            Error::Store(_)
            | Error::Invalid(_)
            | Error::Taken { .. }
            | Error::NotFound { .. }
            | Error::MissingScopes(_)
            | Error::RuleViolation(_)
            | Error::Blocklist(_)
            | Error::Internal(_) => Self::server_error().because(&error),
        }
    }
}

/// For the access token of a request (RFC 6750 §3).
impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal {
            Refusal::NoCredentials => "invalid_client",
            Refusal::Credentials(_) => "invalid_request",
            Refusal::Token(_) | Refusal::ApiKey(_) => "invalid_token",
            Refusal::Scope(_) => "insufficient_scope",
            Refusal::Unavailable { .. } => {
                return Self::unavailable("access tokens cannot be verified now; retry later");
            }
            _ => return Self::server_error(),
        };
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let description = match &refusal {
            Refusal::Scope(_) => "the access token lacks a required scope".to_owned(),
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
