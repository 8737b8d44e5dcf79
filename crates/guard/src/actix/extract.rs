//! Extractors: the signature of a handler states the required scopes.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use futures_util::future::{Either, Ready, ready};

use super::{Authenticated, Rejection, Require, RequiredScopes};
use crate::{
    Claims, CredentialsError, Guard, Refusal,
    request::{self, Known, Verdict, Verified},
};

/// The future of an extractor. Nearly always the result is ready; only a request to the issuer needs a future on the heap.
type Answer<T> = Either<Ready<Result<T, Rejection>>, Pin<Box<dyn Future<Output = Result<T, Rejection>>>>>;

/// Returns the bearer token of a request, from the `Authorization` header only. `query` is the raw query string.
///
/// `Ok(None)`: no token, or credentials of another scheme. A token in the query is not accepted (RFC 9700 §4.3.2).
/// Together with a token in the header it is an error, as are two `Authorization` headers (RFC 6750 §3.1).
pub fn bearer_token<'r>(headers: &'r HeaderMap, query: &str) -> Result<Option<&'r str>, CredentialsError> {
    request::bearer_token(headers.get_all(AUTHORIZATION).map(HeaderValue::as_bytes), query)
}

pub(super) fn credential<'r>(guard: &Guard, req: &'r HttpRequest) -> Result<&'r str, Refusal> {
    request::credential(guard, |name| req.headers().get_all(name).map(HeaderValue::as_bytes), req.query_string())
}

impl FromRequest for Authenticated {
    type Error = Rejection;
    type Future = Answer<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(req, |claims| Ok(Self(claims)))
    }
}

impl<S: RequiredScopes> FromRequest for Require<S> {
    type Error = Rejection;
    type Future = Answer<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(req, Self::of)
    }
}

/// Verifies the credential of a request, unless a middleware did, and passes the claims to `finish`.
fn extract<T: 'static>(req: &HttpRequest, finish: fn(Arc<Claims>) -> Result<T, Refusal>) -> Answer<T> {
    let done = move |guard: &Guard, verdict: Verdict| {
        verdict.and_then(finish).map_err(|refusal| Rejection::new(refusal, guard.realm()))
    };
    let guard = match Known::of(req.app_data::<Guard>(), req.extensions().get::<Verified>()) {
        Known::Claims(claims, guard) => return Either::Left(ready(done(&guard, Ok(claims)))),
        Known::Guard(guard) => guard,
        Known::Nothing => {
            tracing::error!(
                path = req.path(),
                "no Guard for this route: give it to the app with `.app_data(guard.clone())`, not wrapped in web::Data"
            );
            return Either::Left(ready(Err(Rejection::new(Refusal::NoGuard, ""))));
        }
    };
    if let Some(verdict) = request::verify_at_once(&guard, credential(&guard, req)) {
        return Either::Left(ready(done(&guard, verdict)));
    }
    let req = req.clone();
    Either::Right(Box::pin(async move { done(&guard, request::verify(&guard, credential(&guard, &req)).await) }))
}
