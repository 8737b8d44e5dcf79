//! Statements on clients, and the conversion of their rows.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{Client, ClientKind, Credentials, Jwks};
use crate::{error::FieldError, store::StoreError};

macro_rules! columns {
    () => {
        "client_id, name, secret_hash, old_secret_hash, old_secret_until, grant_types, scopes, audiences, access_token_ttl, \
         longest_ttl, jwks, forwards_address, disabled, sessions_ended_at, created_at, updated_at"
    };
}

pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM clients WHERE client_id = $1");
pub(super) const AFTER: &str =
    concat!("SELECT ", columns!(), " FROM clients WHERE client_id > $1 ORDER BY client_id LIMIT $2");
/// The number of clients that [`BY_IDS`] reads.
pub(super) const BATCH: usize = 16;
pub(super) const BY_IDS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM clients WHERE client_id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);
/// Locks the row until the transaction ends: an UPDATE without effect, since SQLite has no `FOR UPDATE`.
pub(super) const LOCK: &str = "UPDATE clients SET updated_at = updated_at WHERE client_id = $1";
/// `$9`: whether the scopes are unchanged. A client whose scopes were set explicitly no longer gets new scopes
/// automatically.
pub(super) const UPDATE: &str = "UPDATE clients SET name = $2, grant_types = $3, scopes = $4, audiences = $5, \
     access_token_ttl = $6, longest_ttl = $10, jwks = $7, forwards_address = $11, updated_at = $8, \
     every_scope = CASE WHEN $9 THEN every_scope ELSE FALSE END \
     WHERE client_id = $1";
pub(super) const DELETE: &str = "DELETE FROM clients WHERE client_id = $1";
/// The column has each name once, separated by spaces.
pub(super) const REMOVE_SCOPE: &str = "UPDATE clients SET scopes = trim(replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ')), updated_at = $2 \
     WHERE replace(' ' || scopes || ' ', ' ' || $1 || ' ', ' ') <> ' ' || scopes || ' '";
pub(super) const INSERT: &str = "INSERT INTO clients \
     (client_id, name, secret_hash, grant_types, scopes, audiences, every_scope, access_token_ttl, longest_ttl, jwks, \
      forwards_address, disabled, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $12)";
/// A public client has no secret to rotate.
pub(super) const ROTATE_SECRET: &str = "UPDATE clients SET old_secret_hash = secret_hash, old_secret_until = $3, \
     secret_hash = $2, updated_at = $4 WHERE client_id = $1 AND secret_hash IS NOT NULL";
pub(super) const SET_DISABLED: &str = "UPDATE clients SET disabled = $2, updated_at = $3 WHERE client_id = $1";
/// Runs at the commit, with the time of the client's revocation. The time never decreases: sessions that were ended stay
/// ended.
pub(super) const END_SESSIONS: &str = "UPDATE clients SET sessions_ended_at = \
     CASE WHEN sessions_ended_at > $2 THEN sessions_ended_at ELSE $2 END WHERE client_id = $1";
/// `$3` is true: selects the clients that may request every scope.
pub(super) const ADD_SCOPE: &str =
    "UPDATE clients SET scopes = trim(scopes || ' ' || $1), updated_at = $2 WHERE every_scope = $3";

pub(super) const USE_ASSERTION: &str =
    "INSERT INTO client_assertions (client_id, jti_hash, expires_at) VALUES ($1, $2, $3)";
/// Deletes the oldest `$2` expired assertions, and those with the same expiry as the last.
pub(super) const DELETE_EXPIRED_ASSERTIONS: &str = "DELETE FROM client_assertions WHERE expires_at <= (SELECT max(expires_at) FROM \
     (SELECT expires_at FROM client_assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AS oldest)";

crate::store::hot! { BY_ID, BY_IDS, USE_ASSERTION, DELETE_EXPIRED_ASSERTIONS }

#[derive(Debug, sqlx::FromRow)]
pub(super) struct ClientRow {
    pub(super) client_id: String,
    name: String,
    secret_hash: Option<Vec<u8>>,
    old_secret_hash: Option<Vec<u8>>,
    old_secret_until: Option<DateTime<Utc>>,
    grant_types: String,
    scopes: String,
    audiences: String,
    access_token_ttl: Option<i64>,
    longest_ttl: Option<i64>,
    jwks: Option<String>,
    forwards_address: bool,
    disabled: bool,
    sessions_ended_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<ClientRow> for Credentials {
    type Error = StoreError;

    fn try_from(row: ClientRow) -> Result<Self, StoreError> {
        let impossible = |problem: String| StoreError::impossible("clients", &row.client_id, &problem);
        let of_field = |error: FieldError| impossible(error.message);
        let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let seconds = |ttl: Option<i64>| {
            let seconds = ttl.map(u64::try_from).transpose().map_err(|error| impossible(error.to_string()))?;
            Ok::<_, StoreError>(seconds.map(Duration::from_secs))
        };
        let kind = if row.secret_hash.is_some() { ClientKind::Confidential } else { ClientKind::Public };
        let client = Client {
            client_id: row.client_id.parse().map_err(of_field)?,
            name: row.name.parse().map_err(of_field)?,
            kind,
            grant_types: words(&row.grant_types)
                .iter()
                .map(|grant| grant.parse())
                .collect::<Result<_, _>>()
                .map_err(of_field)?,
            scopes: row.scopes.parse().map_err(|error: grantd_guard::InvalidScope| impossible(error.to_string()))?,
            audiences: words(&row.audiences)
                .into_iter()
                .map(|audience| audience.parse())
                .collect::<Result<_, _>>()
                .map_err(of_field)?,
            access_token_ttl: seconds(row.access_token_ttl)?,
            longest_ttl: seconds(row.longest_ttl)?,
            jwks: row.jwks.as_deref().map(Jwks::parse).transpose().map_err(of_field)?,
            forwards_address: row.forwards_address,
            disabled: row.disabled,
            sessions_ended_at: row.sessions_ended_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        let old_secret = row.old_secret_hash.zip(row.old_secret_until);
        Ok(Self { client: Arc::new(client), secret_hash: row.secret_hash, old_secret })
    }
}
