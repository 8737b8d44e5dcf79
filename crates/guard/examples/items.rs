//! A service that accepts grantd's tokens, on actix-web. `items_axum.rs` is the same service on axum.
//!
//! ```sh
//! cargo run -p grantd-guard --example items
//! ```
//!
//! | variable | default | |
//! |---|---|---|
//! | `ISSUER` | `http://127.0.0.1:8080` | the URL of grantd |
//! | `AUDIENCE` | the issuer | the `aud` of tokens for this service |
//! | `CLIENT_ID`, `CLIENT_SECRET` | | a client of grantd: follows revocations and accepts API keys |
//! | `LISTEN` | `127.0.0.1:8081` | port 0 selects a free port |

use std::{env, error::Error, io, net::TcpListener};

use actix_web::{
    App, HttpMessage, HttpRequest, HttpResponse, HttpServer, ResponseError, dev::Server, http::StatusCode, web,
};
use grantd_guard::{
    Guard,
    actix::{Authenticated, Require},
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

#[actix_web::main]
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
fn serve(guard: Guard, listener: TcpListener) -> io::Result<Server> {
    let items = web::Data::new(Items::default());
    let app = move || App::new().app_data(guard.clone()).app_data(items.clone()).configure(routes);
    Ok(HttpServer::new(app).listen(listener)?.run())
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/protected").get(protected)).service(web::resource("/items").get(list).post(create));
}

/// Requires a valid token.
async fn protected(caller: Authenticated) -> web::Json<Value> {
    let name = caller.username.as_ref().unwrap_or(&caller.client_id);
    web::Json(json!({"message": format!("Hello, {name}! You are authenticated.")}))
}

/// Requires the scope `items:read`.
async fn list(_: Require<ItemsRead>, items: web::Data<Items>) -> web::Json<Value> {
    web::Json(json!({"items": items.all(), "next_cursor": null}))
}

/// Requires the scope `items:write`. The body is a `Payload`, which is read after the token was verified: without a valid token,
/// a caller gets no errors about the body.
async fn create(
    _: Require<ItemsWrite>,
    req: HttpRequest,
    body: web::Payload,
    items: web::Data<Items>,
) -> Result<HttpResponse, Problem> {
    if !req.content_type().eq_ignore_ascii_case("application/json") {
        return Err(Problem::not_json());
    }
    let body = body
        .to_bytes_limited(MAX_BODY_BYTES)
        .await
        .map_err(|_| Problem::too_large())?
        .map_err(|_| Problem::malformed("the body ended too early"))?;
    Ok(HttpResponse::Created().json(items.add(&NewItem::from_body(&body)?)))
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).content_type("application/problem+json").json(self)
    }
}
