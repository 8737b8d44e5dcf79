//! Extractors: the signature of a handler states the required scopes.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header::AUTHORIZATION, request::Parts},
};

use super::{Authenticated, Rejection, Require, RequiredScopes};
use crate::{
    Claims, CredentialsError, Guard, Refusal,
    request::{self, Known, Verified},
};

/// Returns the bearer token of a request, from the `Authorization` header only. `query` is the raw query string.
///
/// `Ok(None)`: no token, or credentials of another scheme. A token in the query is not accepted (RFC 9700 §4.3.2).
/// Together with a token in the header it is an error, as are two `Authorization` headers (RFC 6750 §3.1).
pub fn bearer_token<'r>(headers: &'r HeaderMap, query: &str) -> Result<Option<&'r str>, CredentialsError> {
    request::bearer_token(headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes), query)
}

pub(super) fn credential<'r>(guard: &Guard, parts: &'r Parts) -> Result<&'r str, Refusal> {
    let header = |name| parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    request::credential(guard, header, parts.uri.query().unwrap_or_default())
}

impl<T: Send + Sync> FromRequestParts<T> for Authenticated {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Rejection> {
        extract(parts, |claims| Ok(Self(claims))).await
    }
}

impl<S: RequiredScopes, T: Send + Sync> FromRequestParts<T> for Require<S> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Rejection> {
        extract(parts, Self::of).await
    }
}

/// Verifies the credential of a request, unless a layer did, and passes the claims to `finish`.
async fn extract<T>(parts: &Parts, finish: fn(Arc<Claims>) -> Result<T, Refusal>) -> Result<T, Rejection> {
    let (verdict, guard) = match Known::of(parts.extensions.get::<Guard>(), parts.extensions.get::<Verified>()) {
        Known::Claims(claims, guard) => (Ok(claims), guard),
        Known::Guard(guard) => (request::verify(&guard, credential(&guard, parts)).await, guard),
        Known::Nothing => {
            let path = parts.uri.path();
            tracing::error!(path, "no Guard for this route: add it with `.layer(Extension(guard.clone()))`");
            return Err(Rejection::new(Refusal::NoGuard, ""));
        }
    };
    verdict.and_then(finish).map_err(|refusal| Rejection::new(refusal, guard.realm()))
}
