//! grantd: a user name and a password go in, a short-lived signed token comes out.
//!
//! A request falls one way: `http` finds the handler, extractors authenticate the caller, a feature function knows the rule, and
//! its statement goes through `store`. Read `http/mod.rs` first: every route is there.

// The way in. It may know `App`; what is below may not.
pub mod app;
pub mod cleanup;
pub mod cli;
pub mod server;

mod http;
mod login;
mod oauth;
mod principal;
mod sync;

pub use http::openapi::document as openapi;

// Features. They take the parts that they use: `&mut Conn` to read, an open `Transaction` to write.
pub mod api_keys;
pub mod apply;
pub mod audit;
pub mod authority;
pub mod bootstrap;
pub mod clients;
pub mod keys;
pub mod passwords;
pub mod revocations;
pub mod roles;
pub mod sessions;
pub mod users;

// The ground. It knows no feature.
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod names;
pub mod patch;
pub mod secret;
pub mod series;
pub mod store;
pub mod telemetry;
pub mod validation;

mod client_address;

/// Name and text of the statements that must use an index, for the test of their plans.
#[doc(hidden)]
pub fn hot_statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    let users = [users::sql::HOT, roles::sql::HOT, sessions::sql::HOT];
    let others = [clients::sql::HOT, api_keys::sql::HOT, revocations::sql::HOT, audit::sql::HOT];
    users.into_iter().chain(others).flatten().copied()
}

/// Compiles the programs of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Compiles the programs of docs/guard.md.
#[cfg(doctest)]
#[doc = include_str!("../docs/guard.md")]
mod guide {}
