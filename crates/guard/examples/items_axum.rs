//! A service that accepts grantd's tokens, on axum. `items.rs` is the same service on actix-web.
//!
//! ```sh
//! cargo run -p grantd-guard --example items_axum
//! ```
//!
//! | variable | default | |
//! |---|---|---|
//! | `ISSUER` | `http://127.0.0.1:8080` | where grantd is |
//! | `AUDIENCE` | the issuer | what tokens for this service have in `aud` |
//! | `CLIENT_ID`, `CLIENT_SECRET` | | a client of grantd: follows revocations and accepts API keys |
//! | `LISTEN` | `127.0.0.1:8081` | port 0 takes a free one |

use std::{env, error::Error, io, net::TcpListener, sync::Arc};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use grantd_guard::{
    Guard,
    axum::{Authenticated, Require},
    scopes,
};
use serde_json::{Value, json};

use self::model::{Items, MAX_BODY_BYTES, NewItem, Problem};

#[path = "items/model.rs"]
mod model;
#[cfg(test)]
#[path = "items/tests.rs"]
mod tests;

scopes! {
    /// See the items.
    ItemsRead = "items:read";
    /// Add items.
    ItemsWrite = "items:write";
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let issuer = setting("ISSUER", "http://127.0.0.1:8080");
    let audience = setting("AUDIENCE", &issuer);
    let mut guard = Guard::from_issuer(issuer).audience(audience);
    if let (Ok(id), Ok(secret)) = (env::var("CLIENT_ID"), env::var("CLIENT_SECRET")) {
        guard = guard.follow_revocations(id, secret).accept_api_keys();
    }
    let guard = guard.build()?;
    let listener = TcpListener::bind(setting("LISTEN", "127.0.0.1:8081"))?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(serve(guard, listener)?.await?)
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Starts the service. Tests pass a guard that needs no issuer.
fn serve(guard: Guard, listener: TcpListener) -> io::Result<impl Future<Output = io::Result<()>> + Send> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = routes().layer(Extension(guard)).with_state(Arc::new(Items::default()));
    Ok(axum::serve(listener, app).into_future())
}

fn routes() -> Router<Arc<Items>> {
    Router::new()
        .route("/protected", get(protected))
        .route("/items", get(list).post(create))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// For everybody who has a valid token.
async fn protected(caller: Authenticated) -> Json<Value> {
    let name = caller.username.as_ref().unwrap_or(&caller.client_id);
    Json(json!({"message": format!("Hello, {name}! You are authenticated.")}))
}

/// For those with the scope `items:read`.
async fn list(_: Require<ItemsRead>, State(items): State<Arc<Items>>) -> Json<Value> {
    Json(json!({"items": items.all(), "next_cursor": null}))
}

/// For those with the scope `items:write`. axum runs extractors in order, so the body is not read before the token is
/// known to be good: without one a caller learns nothing about bodies.
async fn create(
    _: Require<ItemsWrite>,
    State(items): State<Arc<Items>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::not_json());
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::malformed("the body ended too early"),
    })?;
    Ok((StatusCode::CREATED, Json(items.add(&NewItem::from_body(&body)?))).into_response())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}
