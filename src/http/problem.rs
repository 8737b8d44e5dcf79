//! The errors of all routes outside OAuth: problem details (RFC 9457), and how other errors are told there.

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use grantd_guard::Refusal;
use serde::Serialize;

use crate::{
    error::{Error, FieldError},
    oauth::OAuthError,
    store::StoreError,
};

/// The realm of challenges.
const REALM: &str = "grantd";
/// Seconds after which a request that found the server busy or its database away may come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error answer.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of its `type`, a URI that stays the same.
    kind: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    /// Names and values of headers that belong to it.
    headers: Vec<(&'static str, String)>,
    /// What went wrong here, for the log alone.
    cause: Option<Box<str>>,
}

/// The body of an error (RFC 9457 §3).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// What it is, for programs: a URI relative to the server's.
    #[schema(example = "/problems/invalid-token")]
    r#type: String,
    /// What it is, for people.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The request's id, which the log has too.
    instance: &'a str,
    /// Every field that is wrong.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind, title, detail: detail.into(), errors: Vec::new(), headers: Vec::new(), cause: None }
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let detail = format!("this takes {allow}");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail);
        problem.headers.push((ALLOW.as_str(), allow.to_owned()));
        problem
    }

    pub(crate) fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    pub(crate) fn malformed_body(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-body", "Malformed body", detail)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let detail = "the content type must be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type", detail)
    }

    pub(crate) fn head_too_large() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "head-too-large", "Request head too large", "16 KiB are allowed for the request's head")
    }

    /// The same, with the challenge that a client may prove itself by Basic too. `Bearer` stays first.
    pub(crate) fn or_basic(mut self) -> Self {
        self.headers.push((WWW_AUTHENTICATE.as_str(), format!("Basic realm=\"{REALM}\"")));
        self
    }

    /// For a client that did not prove itself, outside OAuth.
    pub(crate) fn of_client(error: &OAuthError) -> Self {
        if error.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            let problem = Self::unavailable("the database is away; try again a little later");
            return problem.because(&error.cause().unwrap_or_default());
        }
        if error.status_code().is_server_error() {
            return Self::internal().because(&error.cause().unwrap_or_default());
        }
        if error.status_code() == StatusCode::BAD_REQUEST {
            return Self::of_status(StatusCode::BAD_REQUEST);
        }
        let detail = "the client is unknown or public, or its credentials are wrong";
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Authentication required", detail);
        problem.headers.push((WWW_AUTHENTICATE.as_str(), format!("Bearer realm=\"{REALM}\"")));
        problem.or_basic()
    }

    /// What went wrong on this side.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn because(mut self, cause: &dyn fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    fn unavailable(detail: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail);
        problem.headers.push((RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS.to_owned()));
        problem
    }

    fn internal() -> Self {
        let detail = "the log has more under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// For an error that actix made.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found("there is nothing at this path"),
            StatusCode::REQUEST_TIMEOUT => Self::new(status, "timeout", "Timeout", "the request took too long to come"),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "too-large", "Too large", "the body is too large"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::head_too_large(),
            status if status.is_server_error() => Self::internal(),
            status => Self::new(status, "invalid-request", "Invalid request", "the request is malformed"),
        }
    }

    /// The answer, which names the request.
    pub(crate) fn render(&self, request_id: &str) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        for (name, value) in &self.headers {
            answer.append_header((*name, value.as_str()));
        }
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        answer.json(ProblemBody {
            r#type: format!("/problems/{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id,
            errors: &self.errors,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
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
                let detail = "some fields are wrong: see errors";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self { errors, ..Self::new(status, "validation", "Validation failed", detail) }
            }
            Error::Taken { field } => {
                Self::new(StatusCode::CONFLICT, "conflict", "Conflict", format!("{field} is taken"))
            }
            Error::NotFound { what, .. } => Self::not_found(format!("there is no such {what}")),
            Error::Lacking(scopes) => Refusal::Scope(scopes).into(),
            Error::Forbidden(rule) => Self::new(StatusCode::CONFLICT, "conflict", "Conflict", rule),
            Error::HashQueueFull => Self::unavailable("too many passwords are being checked; try again a little later"),
            Error::Store(StoreError::Unavailable(_) | StoreError::Repeat(_)) => {
                Self::unavailable("the database is away; try again a little later").because(&error)
            }
            Error::Store(_) | Error::Internal(_) => Self::internal().because(&error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = refusal.problem_type().trim_start_matches("/problems/");
        let mut problem = Self::new(status, kind, refusal.title(), refusal.detail());
        if let Refusal::Unavailable { retry_after } = refusal {
            problem.headers.push((RETRY_AFTER.as_str(), retry_after.to_string()));
        }
        if let Some(challenge) = refusal.challenge(REALM) {
            problem.headers.push((WWW_AUTHENTICATE.as_str(), challenge));
        }
        problem
    }
}
