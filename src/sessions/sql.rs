//! The statements about sessions.

pub(super) const INSERT: &str = "INSERT INTO sessions \
     (id, user_id, client_id, scope, resource, secret, counter, created_at, last_used_at, idle_expires_at, expires_at, \
      address, user_agent) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12)";
pub(super) const END_ALL_OF_USER: &str = "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL";
