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
mod client_events;
mod client_ids;
mod cursors;
mod hostile;
mod http;
mod introspect;
mod keys;
mod matrix;
mod openapi;
mod parameters;
mod problems;
mod proxies;
mod refresh;
mod revocations;
mod revoke;
mod root;
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
mod cli_database;
mod cli_delete;
mod cli_token;
mod demo;
mod first_start;
mod log;
mod settings;
mod sqlite_file;
mod start;
mod tls;
mod token_explain;

// What holds whatever happens.
mod after_commit;
mod cleanup;
mod clock_skew;
mod constraints;
mod database_down;
mod database_hangs;
mod deleted_meanwhile;
mod equal_work;
mod escalation;
mod feed_lifetime;
mod foreign_hashes;
mod hash_queue;
mod immediate_effect;
mod killed;
mod last_administrator;
mod master_key;
mod plans;
mod races;
mod restored;
mod revocation_time;
mod scopes_taken;
mod unknown_keys;

/// Where there is no Postgres, this says so even if no other test wants one.
#[test]
fn postgres_is_there() {
    harness::postgres_is_there();
}
