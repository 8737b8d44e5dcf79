//! The bodies of requests: read with a limit and a deadline, and JSON strictly and only once it is known who asks.

use std::time::Duration;

use actix_web::{
    HttpMessage, HttpRequest,
    http::StatusCode,
    web::{self, Bytes},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// As much as a body in JSON may have, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// For the whole of it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why there is no body.
pub(crate) enum Unread {
    TooSlow,
    TooLarge,
    Broken,
}

/// The whole of a body, of so many bytes at most.
pub(crate) async fn read(body: web::Payload, most: usize) -> Result<Bytes, Unread> {
    let bytes = timeout(LONGEST_WAIT, body.to_bytes_limited(most)).await.map_err(|_| Unread::TooSlow)?;
    bytes.map_err(|_| Unread::TooLarge)?.map_err(|_| Unread::Broken)
}

/// The object of a body. Its type refuses unknown members (`deny_unknown_fields`); serde refuses repeated ones.
pub(crate) async fn json<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload) -> Result<T, Problem> {
    if !req.content_type().eq_ignore_ascii_case("application/json") {
        return Err(Problem::unsupported_media_type());
    }
    let bytes = read(body, MAX_BYTES).await.map_err(|unread| match unread {
        Unread::TooSlow => Problem::of_status(StatusCode::REQUEST_TIMEOUT),
        Unread::TooLarge => Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::Broken => Problem::malformed_body("the body could not be read"),
    })?;
    // serde would take an array for a struct too.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::malformed_body("the body must be a JSON object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| Problem::malformed_body(describe(&error)))
}

/// What is wrong, without a repetition of input.
fn describe(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    if text.starts_with("unknown field") {
        "the body has a member that is not known here"
    } else if text.starts_with("duplicate field") {
        "a member of the body is repeated"
    } else if text.starts_with("missing field") {
        "a member of the body is missing"
    } else if error.is_data() {
        "a member of the body has the wrong type"
    } else {
        "the body is no JSON"
    }
}
