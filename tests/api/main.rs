//! Tests of the server over HTTP and on the command line, with SQLite and Postgres.
//!
//! Each test has its own database, its own server on a free port and a manual clock; see `harness`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation ends the test")]

mod harness;

// For callers: the HTTP API.
mod admin_clients;
mod admin_lists;
mod admin_roles;
mod admin_users;
mod api_keys;
mod audit;
mod audit_list;
mod basic;
mod client_auth;
mod client_credentials;
mod client_events;
mod client_ids;
mod cursors;
mod exchange;
mod hostile;
mod http;
mod introspect;
mod keys;
mod matrix;
mod openapi;
mod parameters;
mod password_rules;
mod problems;
mod proxies;
mod rate_limits;
mod refresh;
mod registrations;
mod revocations;
mod revoke;
mod root;
mod rotation;
mod sessions;
mod token;
mod token_refused;
mod user_address;
mod users_me;
mod verify;

// For operators: the command line, the settings and the start.
mod apply;
mod apply_at_start;
mod apply_errors;
mod cli;
mod cli_database;
mod cli_delete;
mod cli_token;
mod demo;
mod doctor;
mod doctor_database;
mod doctor_faults;
mod doctor_proxies;
mod first_start;
mod health;
mod import;
mod import_any_bytes;
mod import_formats;
mod log;
mod log_secrets;
mod metrics;
mod migrate_dry_run;
mod monitoring;
mod service_manager;
mod settings;
mod sqlite_file;
mod start;
mod stop;
mod throttle;
mod throttle_costs;
mod throttle_model;
mod throttle_races;
mod tls;
mod token_explain;
mod traces;

// Guarantees under concurrency, failures and load.
mod after_commit;
mod agreement;
mod audit_seal_times;
mod audit_seals;
mod cleanup;
mod clock_skew;
mod connections;
mod constraints;
mod database_down;
mod database_hangs;
mod deleted_meanwhile;
mod equal_work;
mod escalation;
mod feed_lifetime;
mod foreign_hashes;
mod guard_keys;
mod hash_queue;
mod immediate_effect;
mod killed;
mod last_administrator;
mod master_key;
mod plans;
mod races;
mod restored;
mod revocation_time;
mod scope_removal;
mod slow_callers;
mod unknown_keys;

/// Reports if there is no Postgres, even if no other test needs it.
#[test]
fn postgres_is_available() {
    harness::postgres_is_available();
}
