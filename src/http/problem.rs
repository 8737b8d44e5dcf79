//! Errors of all routes but OAuth's: problem details (RFC 9457), and the translation of other errors to them.

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use grantd_guard::Refusal;
use serde::Serialize;

use super::{problems::Kind, rate_limit};
use crate::{
    error::{Error, FieldError},
    login::Refused,
    oauth::OAuthError,
    store::StoreError,
    throttle::Throttled,
};

/// The realm of challenges.
const REALM: &str = "grantd";
/// `Retry-After`, in seconds, where the server is busy or its database unavailable.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error response.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    /// Names and values of its headers.
    headers: Vec<(&'static str, String)>,
    /// What failed in the server. Goes to the log only.
    cause: Option<Box<str>>,
    /// Why a client was refused. Goes to the log only.
    logged: Option<String>,
}

/// The body of an error (RFC 9457 §3).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    r#type: Kind,
    /// Short summary, the same for all problems of this type.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// Explanation of this occurrence.
    detail: &'a str,
    /// Id of the request, as in the header `X-Request-Id` and in the server's log.
    instance: &'a str,
    /// All invalid fields.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (detail, errors, headers) = (detail.into(), Vec::new(), Vec::new());
        Self { status: kind.status(), kind, detail, errors, headers, cause: None, logged: None }
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let mut problem = Self::new(Kind::MethodNotAllowed, format!("this path allows {allow}"));
        problem.headers.push((ALLOW.as_str(), allow.to_owned()));
        problem
    }

    pub(crate) fn forbidden(detail: &'static str) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    pub(crate) fn malformed_body(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::MalformedBody, detail)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(Kind::UnsupportedMediaType, "Content-Type must be application/json")
    }

    pub(crate) fn head_too_large() -> Self {
        Self::new(Kind::HeadTooLarge, "the path, query and headers have more than 16 KiB together")
    }

    /// Too many wrong passwords were sent.
    fn throttled(throttled: &Throttled) -> Self {
        let Throttled { quota, retry_after, budget, .. } = *throttled;
        Self::too_many_requests(retry_after, "too many failed attempts; retry later")
            .logged(rate_limit::reason(budget))
            .with_header(rate_limit::POLICY, rate_limit::policy("login", quota))
            .with_header(rate_limit::LIMIT, rate_limit::limit("login", 0, retry_after))
    }

    /// The caller is throttled, for `retry_after` seconds.
    pub(crate) fn too_many_requests(retry_after: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::TooManyRequests, detail).with_header(RETRY_AFTER.as_str(), retry_after.to_string())
    }

    /// Returns the problem with a further header, or a further line of one.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the problem with another detail.
    pub(crate) fn with_detail(self, detail: Cow<'static, str>) -> Self {
        Self { detail, ..self }
    }

    /// Returns the problem with a second challenge: clients may authenticate with HTTP Basic. `Bearer` stays first.
    pub(crate) fn or_basic_of_clients(mut self) -> Self {
        self.headers.push((WWW_AUTHENTICATE.as_str(), format!("Basic realm=\"{REALM}\"")));
        self
    }

    /// Returns the problem with a second challenge: users may authenticate with HTTP Basic, in UTF-8 (RFC 7617 §2.1).
    pub(crate) fn or_basic_of_users(mut self) -> Self {
        self.headers.push((WWW_AUTHENTICATE.as_str(), format!("Basic realm=\"{REALM}\", charset=\"UTF-8\"")));
        self
    }

    /// The user is unknown, or the password wrong.
    fn wrong_password() -> Self {
        Self::from(Refusal::NoCredentials).with_detail("wrong username or password".into()).or_basic_of_users()
    }

    /// The password is right, and the user disabled.
    fn account_disabled() -> Self {
        Self::wrong_password().with_detail("the account is disabled".into()).logged("account disabled")
    }

    /// Returns the problem with a reason for the log.
    pub(crate) fn logged(mut self, reason: &'static str) -> Self {
        self.logged = Some(reason.to_owned());
        self
    }

    /// Translates a failed client authentication at a route that is not OAuth's.
    pub(crate) fn of_client(error: &OAuthError) -> Self {
        if error.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            let problem = Self::unavailable("the database is unavailable; retry later");
            return problem.because(&error.cause().unwrap_or_default());
        }
        if error.status_code().is_server_error() {
            return Self::internal().because(&error.cause().unwrap_or_default());
        }
        if error.status_code() == StatusCode::TOO_MANY_REQUESTS {
            let problem = Self::new(Kind::TooManyRequests, "too many failed attempts; retry later");
            return Self { headers: error.headers().to_vec(), logged: Some(error.log_reason()), ..problem };
        }
        if error.status_code() == StatusCode::BAD_REQUEST {
            return Self::of_status(StatusCode::BAD_REQUEST);
        }
        let detail = "the client is unknown or public, or its credentials are wrong";
        let mut problem = Self::new(Kind::Unauthorized, detail);
        problem.logged = Some(error.log_reason());
        problem.headers.push((WWW_AUTHENTICATE.as_str(), format!("Bearer realm=\"{REALM}\"")));
        problem.or_basic_of_clients()
    }

    /// Returns what failed in the server.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Returns why a client was refused, for the log.
    pub(crate) fn log_reason(&self) -> Option<&str> {
        self.logged.as_deref()
    }

    fn because(mut self, cause: &dyn fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    pub(crate) fn stopping() -> Self {
        Self::unavailable("the server is shutting down; retry later")
    }

    fn unavailable(detail: &'static str) -> Self {
        let mut problem = Self::new(Kind::Unavailable, detail);
        problem.headers.push((RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS.to_owned()));
        problem
    }

    fn internal() -> Self {
        Self::new(Kind::Internal, "internal error; see the server's log for the request id in instance")
    }

    /// Translates an error that actix made.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found("there is nothing at this path; see /docs for all routes"),
            StatusCode::REQUEST_TIMEOUT => Self::new(Kind::Timeout, "the request took too long to arrive"),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Kind::TooLarge, "the body is too large"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::head_too_large(),
            status if status.is_server_error() => Self::internal(),
            status => Self { status, ..Self::new(Kind::InvalidRequest, "the request is malformed") },
        }
    }

    /// Returns the response, which names the request id.
    pub(crate) fn render(&self, request_id: &str) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        for (name, value) in &self.headers {
            answer.append_header((*name, value.as_str()));
        }
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        // A shared cache must not answer others with the error of one caller.
        answer.insert_header((CACHE_CONTROL, "no-store"));
        answer.json(ProblemBody {
            r#type: self.kind,
            title: self.kind.title(),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id,
            errors: &self.errors,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.render("unknown")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(errors) => {
                Self { errors, ..Self::new(Kind::Validation, "some fields are invalid; see errors") }
            }
            Error::Taken { field } => Self::new(Kind::Conflict, format!("{field} is already taken")),
            Error::NotFound { what, .. } => Self::not_found(format!("{what} not found")),
            Error::MissingScopes(scopes) => Refusal::Scope(scopes).into(),
            Error::RuleViolation(rule) => Self::new(Kind::Conflict, rule),
            Error::NoSigningKey => Self::unavailable(
                "the server cannot use its signing keys: its master key is not the one they were sealed with",
            )
            .because(&error),
            Error::HashQueueFull => Self::unavailable("too many passwords are being checked; retry later"),
            Error::Blocklist(_) => {
                Self::unavailable("new passwords cannot be checked at the moment; retry later").because(&error)
            }
            Error::Store(StoreError::Unavailable(_) | StoreError::Repeat(_)) => {
                Self::unavailable("the database is unavailable; retry later").because(&error)
            }
            Error::Store(StoreError::FileReplaced(_)) => {
                Self::unavailable("the database file was deleted or replaced; restart the server").because(&error)
            }
            Error::Store(_) | Error::Internal(_) => Self::internal().because(&error),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wrong(reason) => Self::wrong_password().logged(reason),
            Refused::Disabled => Self::account_disabled(),
            Refused::Throttled(throttled) => Self::throttled(&throttled),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Error::Store(error).into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = Kind::of_path(refusal.problem_type()).unwrap_or(Kind::Internal);
        let mut problem = Self::new(kind, refusal.detail());
        if let Refusal::Unavailable { retry_after } = refusal {
            problem.headers.push((RETRY_AFTER.as_str(), retry_after.to_string()));
        }
        if let Some(challenge) = refusal.challenge(REALM) {
            problem.headers.push((WWW_AUTHENTICATE.as_str(), challenge));
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use grantd_guard::{CredentialsError, Scopes, TokenError};

    use super::*;
    use crate::error::Code;

    fn refusals() -> [Refusal; 6] {
        [
            Refusal::NoCredentials,
            Refusal::Credentials(CredentialsError::Malformed),
            Refusal::Token(TokenError::Revoked),
            Refusal::Scope(Scopes::default()),
            Refusal::Unavailable { retry_after: 1 },
            Refusal::NoGuard,
        ]
    }

    /// No page is about what no answer says. (The other way round the compiler sees to it.)
    #[test]
    fn every_kind_is_used() {
        let used = [
            Problem::not_found(""),
            Problem::method_not_allowed("GET"),
            Problem::forbidden(""),
            Problem::malformed_body(""),
            Problem::unsupported_media_type(),
            Problem::head_too_large(),
            Problem::too_many_requests(1, ""),
            Problem::of_client(&OAuthError::invalid_client(true)),
            Problem::of_status(StatusCode::REQUEST_TIMEOUT),
            Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
            Error::invalid("field", Code::Format, "").into(),
            Error::Taken { field: "username" }.into(),
            Error::HashQueueFull.into(),
            Error::Internal(String::new()).into(),
        ];
        let used = used.into_iter().chain(refusals().map(Problem::from)).map(|problem| problem.kind);
        assert_eq!(used.collect::<BTreeSet<_>>(), Kind::ALL.iter().copied().collect());
    }

    /// What the guard calls a refusal in other services, it is called here.
    #[test]
    fn refusals_are_what_the_guard_calls_them() {
        for refusal in refusals() {
            let (kind, name) = (refusal.problem_type(), refusal.to_string());
            let (title, status) = (refusal.title(), refusal.status());
            let problem = Problem::from(refusal);
            assert_eq!(
                (problem.kind.path(), problem.kind.title(), problem.status.as_u16()),
                (kind, title, status),
                "{name}"
            );
        }
        for kind in Refusal::PROBLEM_TYPES {
            assert!(Kind::of_path(kind).is_some(), "{kind} has no page");
        }
    }
}
