//! The server as its callers and its operators see it: through HTTP and the command line, on SQLite and on Postgres.
//!
//! Each test has its own database, its own server on a free port and a clock that it moves; see `harness`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is not as it should be")]

mod harness;

// What callers see.
mod admin_clients;
mod admin_lists;
mod admin_roles;
mod admin_users;
mod audit;
mod audit_list;
mod client_auth;
mod client_credentials;
mod hostile;
mod http;
mod introspect;
mod keys;
mod matrix;
mod openapi;
mod problems;
mod proxies;
mod refresh;
mod revocations;
mod revoke;
mod rotation;
mod sessions;
mod token;
mod token_refused;
mod users_me;
mod verify;

// What operators see.
mod apply;
mod apply_at_start;
mod cli;
mod first_start;
mod settings;
mod start;
mod tls;
mod token_explain;

// What holds whatever happens.
mod at_once;
mod at_the_same_time;
mod cleanup;
mod constraints;
mod database_down;
mod deleted_meanwhile;
mod equal_work;
mod escalation;
mod hash_queue;
mod killed;
mod plans;

/// Where there is no Postgres, this says so even if no other test wants one.
#[test]
fn postgres_is_there() {
    harness::postgres_is_there();
}
