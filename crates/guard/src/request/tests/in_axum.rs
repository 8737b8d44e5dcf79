use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    routing::get,
};
use tower_service::Service as _;

use super::{ItemsRead, ItemsWrite, Seen};
use crate::{
    Guard,
    axum::{Authenticated, Require},
};

async fn anyone(caller: Authenticated) -> String {
    caller.claims().username.clone().unwrap_or_else(|| caller.client_id.clone())
}

async fn read(caller: Require<ItemsRead>) -> String {
    caller.sub.clone()
}

async fn both(_: Require<(ItemsRead, ItemsWrite)>) -> StatusCode {
    StatusCode::NO_CONTENT
}

fn routes() -> Router {
    Router::new().route("/anyone", get(anyone)).route("/read", get(read)).route("/both", get(both))
}

/// Returns a service whose routes have this guard, also behind layers.
pub(super) fn service(guard: Option<&Guard>) -> Router {
    let Some(guard) = guard else { return routes() };
    let layered = |scopes| routes().layer(guard.require(scopes).unwrap());
    let guarded = routes().nest("/wrapped", layered("items:read items:write")).nest("/any", layered(""));
    guarded.layer(Extension(guard.clone()))
}

/// Returns a service whose routes have the guard `inner`, behind a layer of the guard `outer`.
pub(super) fn wrapped(outer: &Guard, inner: Option<&Guard>) -> Router {
    let mut router = routes();
    if let Some(inner) = inner {
        router = router.layer(Extension(inner.clone()));
    }
    router.layer(outer.require("").unwrap())
}

pub(super) async fn send(mut service: Router, uri: &str, headers: &[(&str, &str)]) -> Seen {
    let mut request = Request::get(uri);
    for header in headers {
        request = request.header(header.0, header.1);
    }
    // A router is always ready.
    let answer = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Seen::new(parts.status.as_u16(), header, &to_bytes(body, usize::MAX).await.unwrap())
}
