//! The response to a refused request: status, challenge, problem body.

use std::fmt;

use serde::Serialize;

use crate::Refusal;

/// A [`Refusal`] as an error of a web framework: an `application/problem+json` response (RFC 9457) with the challenge of
/// RFC 6750 §3.
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

    /// Returns the headers of the response.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let challenge = self.refusal.challenge(&self.realm);
        let retry_after = match &self.refusal {
            Refusal::Unavailable { retry_after } => Some(retry_after.to_string()),
            _ => None,
        };
        let headers = [
            ("content-type", Some("application/problem+json".to_owned())),
            ("www-authenticate", challenge),
            ("retry-after", retry_after),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// Returns the body of the response.
    pub(crate) fn body(&self) -> String {
        let refusal = &self.refusal;
        let detail = refusal.detail();
        let body = Problem {
            r#type: refusal.problem_type(),
            title: refusal.title(),
            status: refusal.status(),
            detail: &detail,
        };
        // Texts and a number always serialize.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for Rejection {}
