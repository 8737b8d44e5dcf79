//! Guards routes of actix-web services.
//!
//! A service adds its [`Guard`](crate::Guard) to the app with `.app_data(guard.clone())`, without `web::Data`. The
//! signature of a handler then states what it requires: [`Require`] for scopes, [`Authenticated`] for any valid token.
//! Use [`Guard::require`](crate::Guard::require) to guard a whole `web::scope`.
//!
//! ```
//! use actix_web::{App, Responder, web};
//! use grantd_guard::{
//!     Guard, InvalidScope,
//!     actix::{Authenticated, Require},
//! };
//!
//! grantd_guard::scopes! {
//!     pub ItemsRead = "items:read";
//!     pub ItemsWrite = "items:write";
//! }
//!
//! async fn who_am_i(caller: Authenticated) -> impl Responder {
//!     caller.username.clone().unwrap_or_else(|| caller.client_id.clone())
//! }
//!
//! async fn list(caller: Require<ItemsRead>) -> impl Responder {
//!     format!("the items, for {}", caller.sub)
//! }
//!
//! async fn copy(_: Require<(ItemsRead, ItemsWrite)>) -> impl Responder {
//!     "done"
//! }
//!
//! # fn app(guard: &Guard) -> Result<(), InvalidScope> {
//! App::new()
//!     .app_data(guard.clone())
//!     .route("/me", web::get().to(who_am_i))
//!     .service(web::resource("/items").get(list).post(copy))
//!     .service(web::scope("/reports").wrap(guard.require("reports:read")?).route("/today", web::get().to(who_am_i)));
//! # Ok(()) }
//! ```
//!
//! actix polls all extractors of a handler concurrently. If the body must not be read before the token is verified, guard
//! the route with [`Guard::require`](crate::Guard::require), or take the body as
//! [`web::Payload`](actix_web::web::Payload).

mod answer;
mod extract;
mod transform;

pub use extract::bearer_token;
pub use transform::RequireAllService;

pub use crate::{
    RequiredScopes,
    request::{Authenticated, Rejection, Require, RequireAll},
};
