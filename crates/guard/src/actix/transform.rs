//! The middleware that guards a whole `web::scope` of routes.

use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    rc::Rc,
};

use actix_web::{
    Error, HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};

use super::{
    Rejection,
    extract::{Verified, verdict, verdict_at_once},
};
use crate::{Guard, InvalidScope, Refusal, Scopes};

impl Guard {
    /// Returns a middleware that requires a token with all of these scopes (space-delimited; the empty text requires any
    /// valid token). Extractors behind it use the verified claims, and need no `app_data`.
    ///
    /// ```
    /// # fn app(guard: &grantd_guard::Guard) -> Result<(), grantd_guard::InvalidScope> {
    /// use actix_web::{App, HttpResponse, web};
    ///
    /// App::new().service(
    ///     web::scope("/reports")
    ///         .wrap(guard.require("reports:read")?)
    ///         .route("/today", web::get().to(HttpResponse::Ok)),
    /// );
    /// # Ok(()) }
    /// ```
    pub fn require(&self, scopes: &str) -> Result<RequireAll, InvalidScope> {
        Ok(RequireAll { guard: self.clone(), needed: scopes.parse()? })
    }
}

/// The middleware that [`Guard::require`] returns.
#[derive(Clone, Debug)]
pub struct RequireAll {
    guard: Guard,
    needed: Scopes,
}

impl<S, B> Transform<S, ServiceRequest> for RequireAll
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = RequireAllService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(RequireAllService { rule: Rc::new(self.clone()), service: Rc::new(service) }))
    }
}

/// A service behind [`RequireAll`].
pub struct RequireAllService<S> {
    rule: Rc<RequireAll>,
    service: Rc<S>,
}

impl<S> fmt::Debug for RequireAllService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireAllService").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for RequireAllService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(service);

    fn call(&self, req: ServiceRequest) -> Self::Future {
        let (rule, service) = (Rc::clone(&self.rule), Rc::clone(&self.service));
        Box::pin(async move {
            match rule.admit(&req).await {
                Ok(()) => service.call(req).await.map(ServiceResponse::map_into_left_body),
                // A response, not an error: outer middleware, such as a logger or CORS, handles it like any other
                // response.
                Err(rejection) => Ok(req.error_response(rejection).map_into_right_body()),
            }
        })
    }
}

impl RequireAll {
    async fn admit(&self, req: &ServiceRequest) -> Result<(), Rejection> {
        let claims = match verdict_at_once(&self.guard, req.request()) {
            Some(verdict) => verdict?,
            None => verdict(&self.guard, req.request()).await?,
        };
        if !claims.scope.contains_all(&self.needed) {
            return Err(Rejection::new(Refusal::Scope(self.needed.clone()), self.guard.realm()));
        }
        req.extensions_mut().insert(Verified { claims, guard: self.guard.clone() });
        Ok(())
    }
}
