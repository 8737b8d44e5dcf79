//! Statements on API keys, and the conversion of their rows.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{ApiKey, OwnedKey};
use crate::{
    error::FieldError,
    ids::ApiKeyId,
    store::StoreError,
    users::{UserRow, user_columns},
};

macro_rules! columns {
    () => {
        "k.id AS key_id, k.name AS key_name, k.scopes AS key_scopes, k.audiences, k.created_at AS key_created_at, \
         k.expires_at, k.last_used_at"
    };
}

pub(super) const BY_HASH: &str = concat!(
    "SELECT k.hash, ",
    columns!(),
    ", ",
    user_columns!(),
    " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = $1"
);
/// The number of keys that [`BY_HASHES`] reads; unused parameters repeat a hash.
pub(super) const BATCH: usize = 16;
pub(super) const BY_HASHES: &str = concat!(
    "SELECT k.hash, ",
    columns!(),
    ", ",
    user_columns!(),
    " FROM api_keys k JOIN users u ON u.id = k.user_id \
     WHERE k.hash IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);
pub(super) const OF_USER: &str =
    concat!("SELECT ", columns!(), " FROM api_keys k WHERE k.user_id = $1 AND k.id > $2 ORDER BY k.id LIMIT $3");
pub(super) const ONE_OF_USER: &str =
    concat!("SELECT ", columns!(), " FROM api_keys k WHERE k.user_id = $1 AND k.id = $2");
/// Counts the keys of a user that have not expired.
pub(super) const COUNT_LIVE: &str =
    "SELECT count(*) FROM api_keys WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > $2)";

pub(super) const INSERT: &str = "INSERT INTO api_keys (id, user_id, name, hash, scopes, audiences, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// `$3`: the earliest time of the previous use.
pub(super) const USED: &str =
    "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
/// `$3`: when the access token expires that is issued now.
pub(super) const EXCHANGED: &str = "UPDATE api_keys SET exchanged_at = $2, access_expires_at = \
     CASE WHEN access_expires_at > $3 THEN access_expires_at ELSE $3 END WHERE id = $1";
pub(super) const DELETE: &str =
    "DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING id, exchanged_at, access_expires_at";
/// Locks the keys of a user that did not expire before `$2`, until the transaction ends, and returns the tokens that were
/// issued for them.
pub(super) const LOCK_OF_USER: &str = "UPDATE api_keys SET name = name WHERE user_id = $1 \
     AND (expires_at IS NULL OR expires_at > $2) RETURNING id, exchanged_at, access_expires_at";
/// Deletes the oldest `$2` expired keys, and those with the same expiry as the last.
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM api_keys WHERE expires_at <= (SELECT max(expires_at) FROM \
     (SELECT expires_at FROM api_keys WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AS oldest)";

crate::store::hot! { BY_HASH, BY_HASHES, OF_USER, USED, COUNT_LIVE, DELETE_EXPIRED }

#[derive(FromRow)]
pub(super) struct KeyRow {
    key_id: ApiKeyId,
    key_name: String,
    key_scopes: String,
    audiences: String,
    key_created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
pub(super) struct OwnedKeyRow {
    pub(super) hash: Vec<u8>,
    #[sqlx(flatten)]
    key: KeyRow,
    #[sqlx(flatten)]
    owner: UserRow,
}

/// The access tokens that were issued for a key.
#[derive(FromRow)]
pub(super) struct IssuedRow {
    pub(super) id: ApiKeyId,
    pub(super) exchanged_at: Option<DateTime<Utc>>,
    pub(super) access_expires_at: Option<DateTime<Utc>>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let impossible = |problem: &dyn ToString| StoreError::impossible("api_keys", &row.key_id, &problem.to_string());
        let audiences = row.audiences.split(' ').filter(|text| !text.is_empty());
        Ok(Self {
            id: row.key_id,
            name: row.key_name.parse().map_err(|error: FieldError| impossible(&error.message))?,
            scopes: row.key_scopes.parse().map_err(|error| impossible(&error))?,
            audiences: audiences
                .map(|text| text.parse().map_err(|error: FieldError| impossible(&error.message)))
                .collect::<Result<_, _>>()?,
            created_at: row.key_created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

impl TryFrom<OwnedKeyRow> for OwnedKey {
    type Error = StoreError;

    fn try_from(row: OwnedKeyRow) -> Result<Self, StoreError> {
        Ok(Self { key: row.key.try_into()?, owner: std::sync::Arc::new(row.owner.try_into()?) })
    }
}
