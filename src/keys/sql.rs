//! Statements on signing keys and server keys.

use chrono::{DateTime, Utc};

use super::KeyState;

pub(super) const ALL: &str = "SELECT kid, algorithm, public_jwk, private_key, state, created_at, not_before, expires_at, default_ttl \
     FROM signing_keys ORDER BY created_at, kid";
pub(super) const INSERT: &str = "INSERT INTO signing_keys \
     (kid, algorithm, public_jwk, private_key, state, created_at, not_before, longest_ttl, default_ttl) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// In seconds: the longest lifetime of any valid token, and of those of clients without a lifetime of their own.
pub(super) const LONGEST_TTLS: &str = "SELECT MAX(longest_ttl), MAX(default_ttl) FROM signing_keys";
pub(super) const LONGEST_DEFAULT_TTL: &str = "SELECT MAX(default_ttl) FROM signing_keys";
pub(super) const ALLOW_TTL: &str =
    "UPDATE signing_keys SET longest_ttl = $1 WHERE state <> 'retired' AND longest_ttl < $1";
pub(super) const ALLOW_DEFAULT_TTL: &str = "UPDATE signing_keys SET default_ttl = $1, \
     longest_ttl = CASE WHEN longest_ttl < $1 THEN $1 ELSE longest_ttl END WHERE state <> 'retired' AND default_ttl < $1";
pub(super) const ACTIVE: &str = "SELECT kid, longest_ttl FROM signing_keys WHERE state = 'active'";
pub(super) const RETIRE: &str =
    "UPDATE signing_keys SET state = 'retired', expires_at = $2 WHERE kid = $1 AND state = 'active'";
pub(super) const PROMOTE: &str =
    "UPDATE signing_keys SET state = 'active', not_before = $2 WHERE kid = $1 AND state = 'next'";
pub(super) const DELETE_NEXT: &str = "DELETE FROM signing_keys WHERE state = 'next'";
pub(super) const DELETE: &str = "DELETE FROM signing_keys WHERE kid = $1";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM signing_keys WHERE state = 'retired' AND expires_at <= $1";
pub(super) const RESEAL: &str = "UPDATE signing_keys SET private_key = $2 WHERE kid = $1";

/// Locks the rows until the transaction ends: an UPDATE without effect, since SQLite has no `FOR UPDATE`.
pub(super) const LOCK_SERVER_KEYS: &str = "UPDATE server_keys SET sealed = sealed RETURNING name, sealed";
pub(super) const SERVER_KEY: &str = "SELECT sealed FROM server_keys WHERE name = $1";
pub(super) const SERVER_KEYS: &str = "SELECT name, sealed FROM server_keys ORDER BY name";
pub(super) const INSERT_SERVER_KEY: &str =
    "INSERT INTO server_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
pub(super) const RESEAL_SERVER_KEY: &str = "UPDATE server_keys SET sealed = $2 WHERE name = $1";

#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) public_jwk: String,
    pub(super) private_key: Vec<u8>,
    pub(super) state: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) default_ttl: i64,
}

impl KeyRow {
    pub(super) fn is(&self, state: KeyState) -> bool {
        self.state == state.as_str()
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ActiveRow {
    pub(super) kid: String,
    pub(super) longest_ttl: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct ServerKeyRow {
    pub(super) name: String,
    pub(super) sealed: Vec<u8>,
}
