//! The response to a refused request: status, challenge, problem body.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde::Serialize;

use crate::Refusal;

/// A [`Refusal`] as an actix error: an `application/problem+json` response (RFC 9457) with the challenge of RFC 6750 §3.
#[derive(Clone, Debug)]
pub struct Rejection {
    refusal: Refusal,
    realm: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Rejection {
    /// Creates a rejection with this realm.
    pub fn new(refusal: impl Into<Refusal>, realm: &str) -> Self {
        Self { refusal: refusal.into(), realm: realm.to_owned() }
    }

    /// Returns the reason.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for Rejection {}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let refusal = &self.refusal;
        let mut answer = HttpResponse::build(self.status_code());
        if let Some(challenge) = refusal.challenge(&self.realm) {
            answer.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if let Refusal::Unavailable { retry_after } = refusal {
            answer.insert_header((RETRY_AFTER, retry_after.to_string()));
        }
        let detail = refusal.detail();
        let body = Problem {
            r#type: refusal.problem_type(),
            title: refusal.title(),
            status: refusal.status(),
            detail: &detail,
        };
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        answer.json(body)
    }
}
