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

use super::{Rejection, RequireAll, extract::credential};
use crate::request;

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
            match admit(&rule, &req).await {
                Ok(()) => service.call(req).await.map(ServiceResponse::map_into_left_body),
                // A response, not an error: outer middleware, such as a logger or CORS, handles it like any other
                // response.
                Err(rejection) => Ok(req.error_response(rejection).map_into_right_body()),
            }
        })
    }
}

/// Verifies the credential of a request, for the extractors behind the middleware.
async fn admit(rule: &RequireAll, req: &ServiceRequest) -> Result<(), Rejection> {
    let verdict = match request::verify_at_once(rule.guard(), credential(rule.guard(), req.request())) {
        Some(verdict) => verdict,
        None => request::verify(rule.guard(), credential(rule.guard(), req.request())).await,
    };
    req.extensions_mut().insert(rule.finish(verdict)?);
    Ok(())
}
