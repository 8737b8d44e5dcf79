//! grantd: a user name and a password go in, a short-lived signed token comes out.
//!
//! A request falls one way: `http` finds the handler, extractors say who asks, a feature function knows the rule, and
//! its statement goes through `store`. Read `http/mod.rs` first: every route is there.

// The way in.
pub mod app;
pub mod cli;
pub mod server;

mod client_address;
mod http;
mod principal;

pub use http::openapi::document as openapi;

// What grantd does.
pub mod audit;
pub mod authority;
pub mod cleanup;
pub mod clients;
pub mod keys;
pub mod oauth;
pub mod passwords;
pub mod revocations;
pub mod roles;
pub mod sessions;
pub mod setup;
pub mod users;

// What it stands on.
pub mod changes;
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod patch;
pub mod secret;
pub mod store;
pub mod telemetry;

/// The programs in README.md compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
