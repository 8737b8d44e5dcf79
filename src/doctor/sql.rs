//! Statements of the audit. All of them read.

use chrono::{DateTime, Utc};

use crate::ids::{EventId, SessionId};

/// Enabled users with `users:write`, by name; `$1` is false.
pub(super) const ADMINISTRATORS: &str = "SELECT DISTINCT u.username FROM users u \
     JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.name = ur.role \
     WHERE u.disabled = $1 AND replace(' ' || r.scopes || ' ', ' users:write ', '') <> ' ' || r.scopes || ' ' \
     ORDER BY u.username";
pub(super) const COUNT_USERS: &str = "SELECT count(*) FROM users";
/// The administrator that a first start created, and when: the oldest such event.
pub(super) const FIRST_ADMINISTRATOR: &str = "SELECT subject, at FROM audit_events WHERE kind = 'user.created' \
     AND details LIKE '%\"first_start\":true%' ORDER BY id LIMIT 1";
pub(super) const ENABLED_NAME: &str = "SELECT username FROM users WHERE id = $1 AND disabled = $2";
pub(super) const PASSWORD_CHANGED: &str = "SELECT id FROM audit_events \
     WHERE subject = $1 AND kind = 'user.password_changed' AND outcome = 'success' LIMIT 1";
/// The number of password hashes: all, those with the prefix `$1` of `$2` characters, and those that begin with `$3` of `$4`.
/// `$5` stands for no password.
pub(super) const PASSWORD_HASHES: &str = "SELECT count(*) AS every, \
     count(CASE WHEN substr(password_hash, 1, $2) = $1 THEN 1 END) AS in_force, \
     count(CASE WHEN substr(password_hash, 1, $4) = $3 THEN 1 END) AS own, \
     count(CASE WHEN password_hash = $5 THEN 1 END) AS without_password FROM users";
/// Enabled users who neither logged in nor used an API key since `$2`; `$1` is false.
pub(super) const UNUSED_ACCOUNTS: &str = "SELECT u.username FROM users u \
     WHERE u.disabled = $1 AND COALESCE(u.last_login_at, u.created_at) < $2 \
     AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.user_id = u.id AND k.last_used_at >= $2) \
     ORDER BY u.username LIMIT $3";
pub(super) const COUNT_UNUSED_ACCOUNTS: &str = "SELECT count(*) FROM users u \
     WHERE u.disabled = $1 AND COALESCE(u.last_login_at, u.created_at) < $2 \
     AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.user_id = u.id AND k.last_used_at >= $2)";
/// Whether a client has a session, ended or not. It is kept until its last token has expired.
pub(super) const CLIENT_HAS_SESSION: &str = "SELECT id FROM sessions WHERE client_id = $1 LIMIT 1";
/// The clients at which a user logged in, or which got a token for themselves, since the id `$1`. It reads all these events:
/// no index has the client.
pub(super) const CLIENTS_WITH_LOGINS: &str =
    "SELECT DISTINCT client_id FROM audit_events WHERE kind = 'login' AND id >= $1 AND client_id IS NOT NULL";
pub(super) const NEWEST_EVENT: &str = "SELECT id FROM audit_events ORDER BY id DESC LIMIT 1";

/// The rest is of one engine. SQLite:
pub(super) const QUICK_CHECK: &str = "PRAGMA quick_check(1)";
pub(super) const FOREIGN_KEY_CHECK: &str = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_check";
pub(super) const SQLITE_INDEXES: &str = "SELECT name FROM sqlite_schema WHERE type = 'index'";

/// Postgres:
pub(super) const NOW: &str = "SELECT clock_timestamp()";
pub(super) const POSTGRES_INDEXES: &str = "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema()";
pub(super) const INVALID_INDEXES: &str = "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND n.nspname = current_schema()";
/// Tables of more than `$1` rows that the planner has no statistics of.
pub(super) const NOT_ANALYZED: &str = "SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = current_schema() \
     AND last_analyze IS NULL AND last_autoanalyze IS NULL AND n_live_tup > $1 ORDER BY relname";
/// Tables of more than `$1` rows that are read as a whole more often than over an index.
pub(super) const SCANNED: &str = "SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = current_schema() \
     AND n_live_tup > $1 AND seq_scan > 100 AND seq_scan > COALESCE(idx_scan, 0) ORDER BY relname";
/// The limit of the server without what is reserved, the connections of grantd, and those of others.
// Processes of the server itself, and those that send its log to standbys, have no database, and are not part of the limit. A login without the right to see other users' sessions sees their names and nothing else of them.
pub(super) const CONNECTIONS: &str = "SELECT \
     current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8 AS most, \
     count(CASE WHEN COALESCE(application_name, '') = 'grantd' AND datname = current_database() THEN 1 END) AS own, \
     count(CASE WHEN COALESCE(application_name, '') <> 'grantd' OR datname <> current_database() THEN 1 END) AS others \
     FROM pg_stat_activity WHERE usename IS NOT NULL AND datname IS NOT NULL \
     AND COALESCE(backend_type, 'client backend') = 'client backend'";

#[derive(sqlx::FromRow)]
pub(super) struct HashesRow {
    pub(super) every: i64,
    pub(super) in_force: i64,
    pub(super) own: i64,
    pub(super) without_password: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct ConnectionsRow {
    pub(super) most: i64,
    pub(super) own: i64,
    pub(super) others: i64,
}

/// A name.
pub(super) type Name = (String,);
/// The subject of an event, and its time.
pub(super) type SubjectAt = (String, DateTime<Utc>);
pub(super) type Event = (EventId,);
pub(super) type Session = (SessionId,);
