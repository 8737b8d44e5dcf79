//! The `tower` layer that guards several routes.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    http::Request,
    response::{IntoResponse, Response},
};
use tower_layer::Layer;
use tower_service::Service;

use super::{RequireAll, extract::credential};
use crate::request;

impl<S> Layer<S> for RequireAll {
    type Service = RequireAllService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireAllService { rule: Arc::new(self.clone()), inner }
    }
}

/// A service behind [`RequireAll`].
#[derive(Clone, Debug)]
pub struct RequireAllService<S> {
    rule: Arc<RequireAll>,
    inner: S,
}

impl<S, B> Service<Request<B>> for RequireAllService<S>
where
    S: Service<Request<B>, Response: IntoResponse, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let rule = Arc::clone(&self.rule);
        // The service that `poll_ready` found ready handles this request; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (mut parts, body) = req.into_parts();
            let verdict = request::verify(rule.guard(), credential(rule.guard(), &parts)).await;
            match rule.finish(verdict) {
                Ok(verified) => {
                    parts.extensions.insert(verified);
                    inner.call(Request::from_parts(parts, body)).await.map(IntoResponse::into_response)
                }
                Err(rejection) => Ok(rejection.into_response()),
            }
        })
    }
}
