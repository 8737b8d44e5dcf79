//! grantd: an OAuth 2.0 token server that exchanges username and password for short-lived signed tokens.
//!
//! A request passes the modules in one direction: `http` finds the handler, extractors authenticate the caller, a feature function
//! applies the rules, and its statements go through `store`. Read `http/mod.rs` first: it lists every route.

// The way in. Only these modules import `App`.
pub mod app;
pub mod cleanup;
pub mod cli;
pub mod doctor;
pub mod server;

mod http;
mod login;
mod oauth;
mod principal;
mod sync;

pub use self::http::openapi::document as openapi;

// Features. Their functions take what they use: `&mut Conn` to read, an open `Transaction` to write.
pub mod api_keys;
pub mod apply;
pub mod audit;
pub mod authority;
pub mod bootstrap;
pub mod clients;
pub mod import;
pub mod keys;
pub mod passwords;
pub mod revocations;
pub mod roles;
pub mod sessions;
pub mod throttle;
pub mod users;

// The ground. It imports no feature.
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod names;
pub mod patch;
pub mod secret;
pub mod series;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod validation;

mod client_address;

/// Parsers of untrusted input, for the targets in `fuzz/`.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;

/// Returns name and text of the statements that must use an index, for the test of their plans.
#[doc(hidden)]
pub fn hot_statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    let users = [users::sql::HOT, roles::sql::HOT, sessions::sql::HOT];
    let others = [clients::sql::HOT, api_keys::sql::HOT, revocations::sql::HOT, audit::sql::HOT, throttle::sql::HOT];
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
