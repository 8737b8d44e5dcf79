//! Answers that may be kept for a while: what every service fetches, and rarely changes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::secret::fingerprint;

/// Seconds for which the metadata and the JWK set may be kept.
const MAX_AGE: u32 = 300;

/// A document in JSON, or 304 where the caller has it (RFC 9110 §13.1.2).
pub(crate) fn cacheable(req: &HttpRequest, document: &impl Serialize) -> HttpResponse {
    let body = match serde_json::to_string(document) {
        Ok(body) => body,
        Err(error) => return HttpResponse::from_error(error),
    };
    let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&fingerprint(&body)[..16]));
    let known = req.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    });
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((CACHE_CONTROL, format!("public, max-age={MAX_AGE}"))).insert_header((ETAG, etag));
    if known { answer.finish() } else { answer.content_type("application/json").body(body) }
}
