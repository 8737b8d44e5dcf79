//! Statements on the keys of imported Firebase hashes.

pub(super) const FIREBASE_KEY: &str = "SELECT sealed FROM firebase_keys WHERE id = $1";
pub(super) const FIREBASE_KEYS: &str = "SELECT id, sealed FROM firebase_keys";
pub(super) const INSERT_FIREBASE_KEY: &str =
    "INSERT INTO firebase_keys (id, sealed) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(super) const RESEAL_FIREBASE_KEY: &str = "UPDATE firebase_keys SET sealed = $2 WHERE id = $1";
