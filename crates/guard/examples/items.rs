//! A service that accepts grantd's tokens.
//!
//! ```sh
//! cargo run -p grantd-guard --example items
//! ```
//!
//! | variable | default | |
//! |---|---|---|
//! | `ISSUER` | `http://127.0.0.1:8080` | the URL of grantd |
//! | `AUDIENCE` | the issuer | the `aud` of tokens for this service |
//! | `LISTEN` | `127.0.0.1:8081` | port 0 selects a free port |

use std::{
    env,
    error::Error,
    fmt, io,
    sync::{Mutex, PoisonError},
};

use actix_web::{App, HttpMessage, HttpRequest, HttpResponse, HttpServer, ResponseError, http::StatusCode, web};
use grantd_guard::{
    Guard,
    actix::{Authenticated, Require},
    scopes,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use validator::{Validate, ValidationError, ValidationErrors};

scopes! {
    /// See the items.
    ItemsRead = "items:read";
    /// Add items.
    ItemsWrite = "items:write";
}

/// The maximum size of a body.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let issuer = setting("ISSUER", "http://127.0.0.1:8080");
    let audience = setting("AUDIENCE", &issuer);
    let guard = Guard::from_issuer(issuer).audience(audience).build()?;
    let items = web::Data::new(Items::default());
    let server = HttpServer::new(move || App::new().app_data(guard.clone()).app_data(items.clone()).configure(routes))
        .bind(setting("LISTEN", "127.0.0.1:8081"))?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    Ok(server.run().await?)
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/protected", web::get().to(protected))
        .service(web::resource("/items").route(web::get().to(list)).route(web::post().to(create)));
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
    let new: NewItem = json_body(&req, body).await?;
    new.validate()?;
    Ok(HttpResponse::Created().json(items.add(&new)))
}

/// The items, in memory.
#[derive(Default)]
struct Items(Mutex<Vec<Item>>);

#[derive(Clone, Serialize)]
struct Item {
    id: usize,
    name: String,
    price: f64,
}

impl Items {
    fn all(&self) -> Vec<Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, new: &NewItem) -> Item {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = new.name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let price = new.price.as_ref().and_then(Value::as_f64).unwrap_or_default();
        let item = Item { id: items.len() + 1, name, price };
        items.push(item.clone());
        item
    }
}

/// Fields of any type, so that wrong types are reported together with other errors.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct NewItem {
    #[validate(required(message = "is needed"), custom(function = "is_name"))]
    name: Option<Value>,
    #[validate(required(message = "is needed"), custom(function = "is_price"))]
    price: Option<Value>,
}

fn is_name(name: &Value) -> Result<(), ValidationError> {
    match name.as_str() {
        None => Err(invalid("format", "must be a text")),
        Some(text) if text.contains('\0') => Err(invalid("format", "must not have U+0000")),
        Some(text) if (1..=100).contains(&text.chars().count()) => Ok(()),
        Some(_) => Err(invalid("length", "must have 1 to 100 characters")),
    }
}

fn is_price(price: &Value) -> Result<(), ValidationError> {
    let positive = price.as_f64().is_some_and(|price| price > 0.0);
    if positive { Ok(()) } else { Err(invalid("format", "must be a number greater than 0")) }
}

fn invalid(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// Reads a body that must be a JSON object.
async fn json_body<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload) -> Result<T, Problem> {
    if !req.content_type().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(415, "unsupported-media-type", "Unsupported media type", "the body must be JSON"));
    }
    let malformed = |detail| Problem::new(400, "malformed-body", "Malformed body", detail);
    let bytes = body
        .to_bytes_limited(MAX_BODY_BYTES)
        .await
        .map_err(|_| Problem::new(413, "too-large", "Too large", "the body may have 64 KiB"))?
        .map_err(|_| malformed("the body ended too early"))?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(malformed("the body is not a JSON object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let known = error.is_data();
        malformed(if known { "a member of the body is unknown or repeated" } else { "the body is not JSON" })
    })
}

/// An error response (RFC 9457).
#[derive(Debug, Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

#[derive(Debug, Serialize)]
struct FieldError {
    field: String,
    code: String,
    message: String,
}

impl Problem {
    fn new(status: u16, kind: &str, title: &'static str, detail: &'static str) -> Self {
        Self { r#type: format!("/problems/{kind}"), title, status, detail, errors: Vec::new() }
    }
}

impl From<ValidationErrors> for Problem {
    /// Lists all errors, sorted by field.
    fn from(invalid: ValidationErrors) -> Self {
        let mut problem = Self::new(422, "validation", "Validation failed", "some fields are wrong");
        for (field, errors) in invalid.field_errors() {
            problem.errors.extend(errors.iter().map(|error| FieldError {
                field: field.to_string(),
                code: error.code.to_string(),
                message: error.message.as_deref().unwrap_or("is wrong").to_owned(),
            }));
        }
        problem.errors.sort_by(|one, other| one.field.cmp(&other.field));
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).content_type("application/problem+json").json(self)
    }
}

#[cfg(test)]
#[path = "items/tests.rs"]
mod tests;
