//! Extractors: the signature of a handler states the required scopes.

use std::{future::Future, marker::PhantomData, ops::Deref, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use futures_util::future::{Either, Ready, ready};

use super::{Rejection, RequiredScopes, bearer_token};
use crate::{AuthenticateError, Claims, Guard, Refusal};

type Verdict = Result<Arc<Claims>, Rejection>;

/// The future of an extractor. Nearly always the result is ready; only a fetch of keys needs a future on the heap.
type Answer<T> = Either<Ready<Result<T, Rejection>>, Pin<Box<dyn Future<Output = Result<T, Rejection>>>>>;

/// The result of the middleware, for the extractors behind it.
pub(super) struct Verified {
    pub(super) claims: Arc<Claims>,
    pub(super) guard: Guard,
}

/// An extractor that requires a valid access token, with any scope.
///
/// ```
/// use actix_web::Responder;
/// use grantd_guard::actix::Authenticated;
///
/// async fn who_am_i(caller: Authenticated) -> impl Responder {
///     caller.username.clone().unwrap_or_else(|| caller.client_id.clone())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated(Arc<Claims>);

impl Authenticated {
    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0
    }
}

impl Deref for Authenticated {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

impl FromRequest for Authenticated {
    type Error = Rejection;
    type Future = Answer<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(req, |verdict, _| verdict.map(Self))
    }
}

/// An extractor that requires a valid access token with the scopes `S`: a type of [`scopes!`](crate::scopes), or a tuple
/// of such types, all of which are required.
///
/// ```
/// use actix_web::Responder;
/// use grantd_guard::actix::Require;
///
/// grantd_guard::scopes! {
///     pub ItemsRead = "items:read";
///     pub ItemsWrite = "items:write";
/// }
///
/// async fn list(caller: Require<ItemsRead>) -> impl Responder {
///     format!("the items, for {}", caller.claims().sub)
/// }
///
/// async fn copy(_: Require<(ItemsRead, ItemsWrite)>) -> impl Responder {
///     "done"
/// }
/// ```
///
/// actix polls all extractors of a handler concurrently. If the body must not be read before the token is verified, guard the
/// route with [`Guard::require`], or take the body as [`web::Payload`](actix_web::web::Payload).
#[derive(Debug)]
pub struct Require<S> {
    claims: Arc<Claims>,
    scopes: PhantomData<fn() -> S>,
}

impl<S> Require<S> {
    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }
}

impl<S> Deref for Require<S> {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

impl<S: RequiredScopes> FromRequest for Require<S> {
    type Error = Rejection;
    type Future = Answer<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(req, |verdict, realm| {
            let claims = verdict?;
            if S::are_in(&claims.scope) {
                Ok(Self { claims, scopes: PhantomData })
            } else {
                Err(Rejection::new(Refusal::Scope(S::needed()), realm))
            }
        })
    }
}

/// Verifies the token of a request, unless a middleware did, and passes the verdict and the realm to `finish`.
fn extract<T: 'static>(req: &HttpRequest, finish: fn(Verdict, &str) -> Result<T, Rejection>) -> Answer<T> {
    let guard = match known(req) {
        Known::Claims(claims, guard) => return Either::Left(ready(finish(Ok(claims), guard.realm()))),
        Known::Guard(guard) => guard,
        Known::Nothing => {
            tracing::error!(
                path = req.path(),
                "no Guard for this route: give it to the app with `.app_data(guard.clone())`, not wrapped in web::Data"
            );
            return Either::Left(ready(Err(Rejection::new(Refusal::NoGuard, ""))));
        }
    };
    if let Some(verdict) = verdict_at_once(&guard, req) {
        return Either::Left(ready(finish(verdict, guard.realm())));
    }
    let req = req.clone();
    Either::Right(Box::pin(async move { finish(verdict(&guard, &req).await, guard.realm()) }))
}

/// The guard of a request, or the claims that its middleware has verified.
enum Known {
    Claims(Arc<Claims>, Guard),
    Guard(Guard),
    Nothing,
}

fn known(req: &HttpRequest) -> Known {
    let nearest = req.app_data::<Guard>();
    match req.extensions().get::<Verified>() {
        // A guard that is nearer to the route than the middleware may have another issuer or audience: its verdict
        // counts.
        Some(found) if nearest.is_none_or(|guard| guard.is_same(&found.guard)) => {
            Known::Claims(Arc::clone(&found.claims), found.guard.clone())
        }
        _ => nearest.cloned().map_or(Known::Nothing, Known::Guard),
    }
}

/// Verifies the token of a request without waiting. `None`: keys or revocations should be waited for.
pub(super) fn verdict_at_once(guard: &Guard, req: &HttpRequest) -> Option<Verdict> {
    match token(req) {
        Ok(token) => guard.authenticate_at_once(token).map(|verdict| verdict.map_err(|error| reject(guard, error))),
        Err(refusal) => Some(Err(Rejection::new(refusal, guard.realm()))),
    }
}

/// Verifies the token of a request, and waits for keys and revocations if necessary.
pub(super) async fn verdict(guard: &Guard, req: &HttpRequest) -> Verdict {
    match token(req) {
        Ok(token) => guard.authenticate(token).await.map_err(|error| reject(guard, error)),
        Err(refusal) => Err(Rejection::new(refusal, guard.realm())),
    }
}

fn token(req: &HttpRequest) -> Result<&str, Refusal> {
    bearer_token(req.headers(), req.query_string())?.ok_or(Refusal::NoCredentials)
}

fn reject(guard: &Guard, error: AuthenticateError) -> Rejection {
    Rejection::new(error, guard.realm())
}
