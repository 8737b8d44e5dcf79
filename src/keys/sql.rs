//! The statements about signing keys.

use chrono::{DateTime, Utc};

pub(super) const ALL: &str =
    "SELECT kid, algorithm, public_jwk, private_key, state, expires_at FROM signing_keys ORDER BY created_at, kid";
pub(super) const INSERT: &str = "INSERT INTO signing_keys \
     (kid, algorithm, public_jwk, private_key, state, created_at, not_before) VALUES ($1, $2, $3, $4, $5, $6, $6)";
/// Seconds: a client's tokens may live longer than is set for the server. NULL where no client has a lifetime of its own.
pub(super) const LONGEST_CLIENT_TTL: &str = "SELECT MAX(access_token_ttl) FROM clients";
/// The active key, where it is of another algorithm than `$1`.
pub(super) const RETIRE_OTHERS: &str =
    "UPDATE signing_keys SET state = 'retired', expires_at = $2 WHERE state = 'active' AND algorithm <> $1";

#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) public_jwk: String,
    pub(super) private_key: Vec<u8>,
    pub(super) state: String,
    pub(super) expires_at: Option<DateTime<Utc>>,
}
