//! Signing keys: created, stored sealed under the master key, published as a JWK set, and rotated (see `rotate.rs`).

mod inspect;
mod pair;
mod rotate;
pub(crate) mod routes;
mod sql;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use grantd_guard::Claims;
use jsonwebtoken::jwk::JwkSet;
use secrecy::{ExposeSecret as _, SecretBox};
use serde::Serialize;
use serde_json::{Value, json};

use self::pair::KeyPair;
pub use self::rotate::{NewKey, list};
pub(crate) use self::{
    inspect::{Inspected, closed_server_keys, existing_server_key, inspect},
    rotate::{Due, max_age},
};
use crate::{
    config::{Algorithm, Config, SigningKeyConfig},
    error::Error,
    secret::{self, MasterKey, NoRandomness},
    store::{Conn, Store, StoreError, Transaction, conn},
    validation::named_enum,
};

/// Signs access tokens, and publishes the public keys. Keys are parsed when they are read, not for each request.
pub struct SigningKeys {
    snapshot: ArcSwap<Snapshot>,
    master_key: MasterKey,
    config: SigningKeyConfig,
    /// This server's lifetime of access tokens, for clients without a lifetime of their own.
    default_ttl: Duration,
    /// When this server first read the keys.
    opened_at: DateTime<Utc>,
}

/// The keys as they were last read from the database. It is replaced as a whole, so a request never sees a mix of old and
/// new keys.
struct Snapshot {
    /// `None`: the active key is sealed under a master key that this server does not have. Then it signs no tokens, and
    /// goes on verifying them.
    signer: Option<Arc<Signer>>,
    keys: Vec<SigningKey>,
    /// The public keys as they are published: a JWK set (RFC 7517 §5).
    published: String,
    set: Arc<JwkSet>,
}

/// The active key, ready to sign.
struct Signer {
    kid: String,
    pair: KeyPair,
    /// The JOSE header of all its tokens in base64url, with the trailing dot.
    header: String,
}

/// The public properties of a signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SigningKey {
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// Signature algorithm.
    pub algorithm: Algorithm,
    /// State of the key.
    pub state: KeyState,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// When the key becomes, or became, active.
    pub not_before: DateTime<Utc>,
    /// When the last token that it signed expires. Null while the key is active.
    pub expires_at: Option<DateTime<Utc>>,
}

named_enum! {
    /// State of a signing key.
    KeyState in "state" {
        /// Published, but not signing yet.
        Next = "next",
        /// Signs new tokens. There is always one active key.
        Active = "active",
        /// Does not sign any more. Published until its last token has expired.
        Retired = "retired",
    }
}

/// An error that makes the signing keys unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database failed.
    #[error("the signing keys cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A key was sealed under another master key.
    #[error(
        "GRANTD_MASTER_KEY: this is not the master key of the database: the signing key {kid} was sealed under another \
         one. Use the key of the last `grantd keys rewrap`, or the one that it was created with"
    )]
    WrongMasterKey {
        /// The id of the key.
        kid: String,
    },
    /// A key could not be generated.
    #[error("a signing key cannot be made: {0}")]
    Make(String),
    /// The operating system provides no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl From<KeysError> for Error {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Store(error) => Self::Store(error),
            KeysError::WrongMasterKey { .. } => Self::NoSigningKey,
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Returns whether the database has any signing keys, and thus secrets that only its master key opens.
pub(crate) async fn any(conn: &mut Conn) -> Result<bool, StoreError> {
    Ok(!conn::all!(conn, sql::KeyRow, sql::ALL)?.is_empty())
}

impl SigningKeys {
    /// Reads the keys. Creates the first key of an empty database.
    pub async fn open(
        store: &Store,
        master_key: &MasterKey,
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<Self, KeysError> {
        let mut rows = live(&mut store.read().await?, now).await?;
        if !rows.iter().any(|row| row.is(KeyState::Active)) {
            // Existing keys must open first: a server with a wrong master key must not add a key that the others cannot
            // open.
            rows.iter().try_for_each(|row| unseal(row, master_key).map(drop))?;
            rotate::create_first(store, master_key, config, now).await?;
            rows = live(&mut store.read().await?, now).await?;
        }
        // Only the active key must open for a start. A next key that does not is found by `reload`, when it becomes
        // active.
        for row in rows.iter().filter(|row| row.is(KeyState::Active)) {
            unseal(row, master_key)?;
        }
        let snapshot = Snapshot::of(&rows, master_key, None)?;
        let default_ttl = config.tokens.access_token_ttl;
        allow_default_ttl(store, &rows, default_ttl).await?;
        let (snapshot, master_key) = (ArcSwap::from_pointee(snapshot), master_key.clone());
        Ok(Self { snapshot, master_key, config: config.signing_keys.clone(), default_ttl, opened_at: now })
    }

    /// Reads the keys again. Public keys are not sealed, so a server with another master key still verifies tokens.
    pub(crate) async fn reload(&self, store: &Store, now: DateTime<Utc>) -> Result<(), KeysError> {
        let rows = live(&mut store.read().await?, now).await?;
        allow_default_ttl(store, &rows, self.default_ttl).await?;
        // After `rewrap`, the active key no longer opens under this server's master key: the signer in memory is kept.
        let previous = self.snapshot.load().signer.clone();
        let snapshot = Snapshot::of(&rows, &self.master_key, previous)?;
        if snapshot.signer.is_none() {
            tracing::error!("the active signing key is sealed under another master key: this server issues no tokens");
        }
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// Returns whether this server can sign tokens.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.snapshot.load().signer.is_some()
    }

    /// Returns since when the active key signs, and when it is due to be replaced.
    pub(crate) fn active_period(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let snapshot = self.snapshot.load();
        let active = snapshot.keys.iter().find(|key| key.state == KeyState::Active)?;
        Some((active.not_before, active.not_before + self.config.ttl))
    }

    /// Returns the claims as a JWT, signed by the active key (RFC 9068 §2.1).
    ///
    /// Built by hand, since `jsonwebtoken` would parse the private key (PKCS #8) for each signature.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let snapshot = self.snapshot.load();
        let signer = snapshot.signer.as_ref().ok_or(Error::NoSigningKey)?;
        let json = serde_json::to_vec(claims).map_err(|error| Error::Internal(error.to_string()))?;
        let mut token = signer.header.clone();
        pair::encode(&json, &mut token);
        let signature = signer.pair.sign(token.as_bytes())?;
        token.push('.');
        pair::encode(&signature, &mut token);
        Ok(token)
    }

    /// Returns the public keys.
    #[must_use]
    pub fn jwk_set(&self) -> Arc<JwkSet> {
        Arc::clone(&self.snapshot.load().set)
    }

    /// Returns the published JWK set, and its `max-age` in seconds.
    pub(crate) fn published(&self) -> (String, u32) {
        (self.snapshot.load().published.clone(), max_age(&self.config))
    }

    /// Returns the server key with this name, such as the MAC key of refresh tokens. Creates it if it does not exist.
    pub(crate) async fn server_key(store: &Store, master_key: &MasterKey, name: &str) -> Result<[u8; 32], KeysError> {
        let read = async || {
            let mut conn = store.read().await?;
            conn::optional!(conn, (Vec<u8>,), sql::SERVER_KEY, name)
        };
        if read().await?.is_none() {
            let sealed = master_key.seal(&secret::random::<32>()?, name)?;
            let mut conn = store.write().await?;
            // Of several servers that start at once, one inserts its key. All read it again below, also those that lost
            // the race.
            conn::execute!(conn, sql::INSERT_SERVER_KEY, name, sealed)?;
        }
        let impossible = |problem: &str| StoreError::impossible("server_keys", name, problem);
        let (sealed,) = read().await?.ok_or_else(|| impossible("it is gone"))?;
        let key = open_sealed(master_key, &sealed, name)?;
        let bytes = key.expose_secret().as_slice().try_into();
        Ok(bytes.map_err(|_| impossible("it has not 32 bytes"))?)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl Snapshot {
    /// Builds a snapshot of these rows. `previous`: the current signer, which is kept if its key is still the active one.
    fn of(rows: &[sql::KeyRow], master_key: &MasterKey, previous: Option<Arc<Signer>>) -> Result<Self, KeysError> {
        let active = rows.iter().find(|row| row.is(KeyState::Active));
        let active = active.ok_or_else(|| StoreError::impossible("signing_keys", "", "no key is active"))?;
        let signer = match previous.filter(|signer| signer.kid == active.kid) {
            Some(signer) => Some(signer),
            None => Signer::open(active, master_key).map(Arc::new),
        };
        let parse = |row: &sql::KeyRow| {
            serde_json::from_str::<Value>(&row.public_jwk).map_err(|_| impossible(row, "the JWK is not JSON"))
        };
        let jwks = rows.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let published = json!({"keys": jwks});
        let text = published.to_string();
        let set = serde_json::from_value(published);
        let set = set.map_err(|error| StoreError::impossible("signing_keys", "", &error))?;
        let keys = rows.iter().map(SigningKey::try_from).collect::<Result<_, _>>()?;
        Ok(Self { signer, keys, published: text, set: Arc::new(set) })
    }
}

impl Signer {
    /// Unseals a key. `None`: it cannot be unsealed.
    fn open(row: &sql::KeyRow, master_key: &MasterKey) -> Option<Self> {
        let pair = unseal(row, master_key).ok()?;
        let head = json!({"alg": row.algorithm, "kid": row.kid, "typ": "at+jwt"}).to_string();
        let mut header = String::new();
        pair::encode(head.as_bytes(), &mut header);
        header.push('.');
        Some(Self { kid: row.kid.clone(), pair, header })
    }
}

impl TryFrom<&sql::KeyRow> for SigningKey {
    type Error = StoreError;

    fn try_from(row: &sql::KeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            kid: row.kid.clone(),
            algorithm: algorithm(row)?,
            state: row.state.parse().map_err(|_| impossible(row, "the state is not known"))?,
            created_at: row.created_at,
            not_before: row.not_before,
            expires_at: row.expires_at,
        })
    }
}

fn impossible(row: &sql::KeyRow, problem: &str) -> StoreError {
    StoreError::impossible("signing_keys", &row.kid, problem)
}

fn algorithm(row: &sql::KeyRow) -> Result<Algorithm, StoreError> {
    row.algorithm.parse().map_err(|_| impossible(row, "the algorithm is not known"))
}

/// Opens a secret that was sealed under this name.
fn open_sealed(master_key: &MasterKey, sealed: &[u8], name: &str) -> Result<SecretBox<Vec<u8>>, KeysError> {
    master_key.open(sealed, name).map_err(|_| KeysError::WrongMasterKey { kid: name.to_owned() })
}

fn unseal(row: &sql::KeyRow, master_key: &MasterKey) -> Result<KeyPair, KeysError> {
    let pkcs8 = open_sealed(master_key, &row.private_key, &row.kid)?;
    let pair = KeyPair::from_pkcs8(algorithm(row)?, &pkcs8);
    Ok(pair.ok_or_else(|| impossible(row, "the private key is malformed"))?)
}

/// Returns the keys that are next, active, or retired with tokens that may still be valid.
async fn live(conn: &mut Conn, now: DateTime<Utc>) -> Result<Vec<sql::KeyRow>, StoreError> {
    let mut rows = conn::all!(conn, sql::KeyRow, sql::ALL)?;
    rows.retain(|row| row.expires_at.is_none_or(|expires_at| expires_at > now));
    Ok(rows)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Raises the stored token lifetime of the keys to this server's setting. A retired key is published for as long as its
/// tokens may be valid, so every server must store its lifetime before it issues a token.
async fn allow_default_ttl(store: &Store, rows: &[sql::KeyRow], ttl: Duration) -> Result<(), StoreError> {
    let ttl = seconds(ttl);
    if rows.iter().any(|row| !row.is(KeyState::Retired) && row.default_ttl < ttl) {
        let allow = store.transact(async |tx| {
            rotate::lock(tx).await?;
            conn::execute!(tx, sql::ALLOW_DEFAULT_TTL, ttl)
        });
        allow.await?;
    }
    Ok(())
}

/// Raises the stored token lifetime of the keys to that of a client, before a token with it is issued.
pub(crate) async fn allow_ttl(tx: &mut Transaction, ttl: Duration) -> Result<(), StoreError> {
    // Serializes this with the creation of keys: a new key takes over the lifetime from the others, or is updated here.
    // Without the lock it could miss both, and be deleted while its tokens are valid.
    rotate::lock(tx).await?;
    conn::execute!(tx, sql::ALLOW_TTL, seconds(ttl))?;
    Ok(())
}

/// Returns the longest lifetime of any valid token of a client without a lifetime of its own.
pub(crate) async fn longest_default_ttl(conn: &mut Conn) -> Result<Duration, StoreError> {
    let longest = conn::scalar!(conn, Option<i64>, sql::LONGEST_DEFAULT_TTL)?;
    Ok(duration(longest.unwrap_or(0)))
}

/// Deletes retired keys whose last token has expired.
pub(crate) async fn delete_expired(conn: &mut Conn, now: DateTime<Utc>) -> Result<u64, StoreError> {
    conn::execute!(conn, sql::DELETE_EXPIRED, now)
}

#[cfg(test)]
mod tests;
