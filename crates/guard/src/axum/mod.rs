//! Guards routes of axum services.
//!
//! A service adds its [`Guard`](crate::Guard) to the routes with `.layer(Extension(guard.clone()))`. The signature of a
//! handler then states what it requires: [`Require`] for scopes, [`Authenticated`] for any valid token. Put them before the
//! extractor of the body: axum runs extractors in order, so that the body is read only after the token was verified.
//!
//! [`Guard::require`](crate::Guard::require) is a `tower` layer that guards all routes of a router, or any other service.
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use grantd_guard::{
//!     Guard, InvalidScope,
//!     axum::{Authenticated, Require},
//! };
//!
//! grantd_guard::scopes! {
//!     pub ItemsRead = "items:read";
//!     pub ItemsWrite = "items:write";
//! }
//!
//! async fn who_am_i(caller: Authenticated) -> String {
//!     caller.username.clone().unwrap_or_else(|| caller.client_id.clone())
//! }
//!
//! async fn list(caller: Require<ItemsRead>) -> String {
//!     format!("the items, for {}", caller.sub)
//! }
//!
//! async fn copy(_: Require<(ItemsRead, ItemsWrite)>) -> &'static str {
//!     "done"
//! }
//!
//! fn app(guard: &Guard) -> Result<Router, InvalidScope> {
//!     let reports = Router::new().route("/today", get(who_am_i)).layer(guard.require("reports:read")?);
//!     Ok(Router::new()
//!         .route("/me", get(who_am_i))
//!         .route("/items", get(list).post(copy))
//!         .nest("/reports", reports)
//!         .layer(Extension(guard.clone())))
//! }
//! ```

mod answer;
mod extract;
mod layer;

pub use extract::bearer_token;
pub use layer::RequireAllService;

pub use crate::{
    RequiredScopes,
    request::{Authenticated, Rejection, Require, RequireAll},
};
