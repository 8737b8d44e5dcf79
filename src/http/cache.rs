//! Cacheable responses: documents that every service fetches and that rarely change.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    web::Bytes,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::secret::fingerprint;

/// Seconds for which most documents may be kept.
pub(crate) const MAX_AGE: u32 = 300;

/// A document, ready to be sent.
#[derive(Debug)]
pub(crate) struct Document {
    /// None: it could not be written as JSON.
    body: Option<Bytes>,
    content_type: &'static str,
    etag: String,
    max_age: u32,
}

impl Document {
    /// One in JSON. `max_age`: seconds.
    pub(crate) fn of(document: &impl Serialize, max_age: u32) -> Self {
        Self::new(serde_json::to_string(document).ok(), "application/json", max_age)
    }

    /// One of a text in JSON. `max_age`: seconds.
    pub(crate) fn json(text: String, max_age: u32) -> Self {
        Self::new(Some(text), "application/json", max_age)
    }

    /// A page. `max_age`: seconds.
    pub(crate) fn html(page: String, max_age: u32) -> Self {
        Self::new(Some(page), "text/html; charset=utf-8", max_age)
    }

    fn new(body: Option<String>, content_type: &'static str, max_age: u32) -> Self {
        let etag = BASE64_URL_SAFE_NO_PAD.encode(&fingerprint(body.as_deref().unwrap_or_default())[..16]);
        Self { body: body.map(Bytes::from), content_type, etag: format!("\"{etag}\""), max_age }
    }

    /// The document, or 304 where the caller has it (RFC 9110 §13.1.2).
    pub(crate) fn answer(&self, req: &HttpRequest) -> HttpResponse {
        let Some(body) = self.body.clone() else { return HttpResponse::InternalServerError().finish() };
        let known = req.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
            tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
        });
        let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer
            .insert_header((CACHE_CONTROL, format!("public, max-age={}", self.max_age)))
            .insert_header((ETAG, self.etag.as_str()));
        if known { answer.finish() } else { answer.content_type(self.content_type).body(body) }
    }
}

/// A document that is cached for a key, such as the number of the last change of what it shows.
#[derive(Debug)]
pub(crate) struct Cached<K>(Mutex<Option<(K, Arc<Document>)>>);

impl<K> Default for Cached<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: PartialEq> Cached<K> {
    /// Returns the document, if it was made for this key.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<Document>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|(of, _)| of == key).map(|(_, document)| Arc::clone(document))
    }

    /// Caches a document in place of the one before.
    pub(crate) fn put(&self, key: K, document: Document) -> Arc<Document> {
        let document = Arc::new(document);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, Arc::clone(&document)));
        document
    }
}
