//! Signing keys: made, kept sealed in the database, published, used, replaced.

mod pair;
mod rotate;
pub(crate) mod routes;
mod sql;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use grantd_guard::Claims;
use jsonwebtoken::jwk::JwkSet;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Value, json};

use self::pair::KeyPair;
pub(crate) use self::rotate::tick;
pub use self::rotate::{delete, list, rewrap, rotate};
use crate::{
    config::{Algorithm, Config, SigningKeyConfig},
    error::Error,
    http::cache::Document,
    secret::{self, MasterKey, NoRandomness},
    store::{Conn, Store, StoreError, run},
};

/// Signs access tokens, and says with which keys. Keys are parsed once, never for a request.
pub struct SigningKeys {
    snapshot: ArcSwap<Snapshot>,
    master_key: MasterKey,
    /// When they were first read.
    opened_at: DateTime<Utc>,
}

/// The keys as the database had them.
struct Snapshot {
    signer: Signer,
    keys: Vec<SigningKey>,
    /// As they are published (RFC 7517 §5).
    published: Document,
    set: Arc<JwkSet>,
}

/// The active key.
struct Signer {
    pair: KeyPair,
    /// The JOSE header of all its tokens, in base64url, with the dot.
    header: String,
}

/// What may be known of a signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SigningKey {
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it begins, or began, to sign.
    pub not_before: DateTime<Utc>,
    /// When the last token that it signed has expired; none while it signs.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The life of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, and not signing yet.
    Next,
    /// Signs: there is always one.
    Active,
    /// Published until its last token has expired.
    Retired,
}

impl KeyState {
    /// As in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired].into_iter().find(|state| state.as_str() == text)
    }
}

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database failed.
    #[error("the signing keys cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A key was sealed under another master key.
    #[error(
        "GRANTD_MASTER_KEY: this is not the master key of the database: the signing key {kid} was sealed under another \
         one. Use the key that the database was made with"
    )]
    WrongMasterKey {
        /// Which key.
        kid: String,
    },
    /// A key could not be made.
    #[error("a signing key cannot be made: {0}")]
    Make(String),
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl From<KeysError> for Error {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Store(error) => Self::Store(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Whether there are any keys, and so secrets that only their master key opens.
pub(crate) async fn any(store: &Store) -> Result<bool, StoreError> {
    let mut conn = store.read().await?;
    Ok(!run::all!(conn, sql::KeyRow, sql::ALL)?.is_empty())
}

impl SigningKeys {
    /// Reads the keys; makes one where there is none.
    pub async fn open(
        store: &Store,
        master_key: &MasterKey,
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<Self, KeysError> {
        let mut rows = live(store, now).await?;
        if !rows.iter().any(|row| row.state == "active") {
            // The keys that are there must open first: a wrong master key changes nothing.
            rows.iter().try_for_each(|row| unseal(row, master_key).map(drop))?;
            rotate::make_first(store, master_key, config, now).await?;
            rows = live(store, now).await?;
        }
        let snapshot = Snapshot::of(&rows, master_key, &config.signing_keys)?;
        allow_own_ttl(store, &rows, config.tokens.access_token_ttl).await?;
        Ok(Self { snapshot: ArcSwap::from_pointee(snapshot), master_key: master_key.clone(), opened_at: now })
    }

    /// Reads them again.
    pub(crate) async fn reload(&self, store: &Store, config: &Config, now: DateTime<Utc>) -> Result<(), KeysError> {
        let rows = live(store, now).await?;
        allow_own_ttl(store, &rows, config.tokens.access_token_ttl).await?;
        self.snapshot.store(Arc::new(Snapshot::of(&rows, &self.master_key, &config.signing_keys)?));
        Ok(())
    }

    /// The claims as a JWT, signed by the active key (RFC 9068 §2.1).
    ///
    /// `jsonwebtoken` would read the private key's PKCS #8 anew for each signature, hence the few lines here.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let signer = &self.snapshot.load().signer;
        let json = serde_json::to_vec(claims).map_err(|error| Error::Internal(error.to_string()))?;
        let mut token = signer.header.clone();
        pair::encode(&json, &mut token);
        let signature = signer.pair.sign(token.as_bytes())?;
        token.push('.');
        pair::encode(&signature, &mut token);
        Ok(token)
    }

    /// The public keys.
    #[must_use]
    pub fn jwk_set(&self) -> Arc<JwkSet> {
        Arc::clone(&self.snapshot.load().set)
    }

    /// A key of the server itself, for one purpose; made where there is none yet.
    pub(crate) async fn server_key(store: &Store, master_key: &MasterKey, name: &str) -> Result<[u8; 32], KeysError> {
        let read = async || {
            let mut conn = store.read().await?;
            run::optional!(conn, (Vec<u8>,), sql::SERVER_KEY, name)
        };
        if read().await?.is_none() {
            let sealed = master_key.seal(&secret::random::<32>()?, name)?;
            let mut conn = store.write().await?;
            // Of several servers that start together one makes it.
            run::execute!(conn, sql::INSERT_SERVER_KEY, name, sealed)?;
        }
        let impossible = |problem: &str| StoreError::impossible("server_keys", name, problem);
        let (sealed,) = read().await?.ok_or_else(|| impossible("it is gone"))?;
        let wrong = |_| KeysError::WrongMasterKey { kid: name.to_owned() };
        let key = master_key.open(&sealed, name).map_err(wrong)?;
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
    fn of(rows: &[sql::KeyRow], master_key: &MasterKey, config: &SigningKeyConfig) -> Result<Self, KeysError> {
        let mut signer = None;
        let mut jwks = Vec::new();
        for row in rows {
            let jwk: Value =
                serde_json::from_str(&row.public_jwk).map_err(|_| impossible(row, "the JWK is no JSON"))?;
            jwks.push(jwk);
            if row.state == "active" {
                let pair = unseal(row, master_key)?;
                let head = json!({"alg": row.algorithm, "kid": row.kid, "typ": "at+jwt"}).to_string();
                let mut header = String::new();
                pair::encode(head.as_bytes(), &mut header);
                header.push('.');
                signer = Some(Signer { pair, header });
            }
        }
        let signer = signer.ok_or_else(|| StoreError::impossible("signing_keys", "", "no key is active"))?;
        let published = json!({"keys": jwks});
        let document = Document::of(&published, rotate::max_age(config));
        let set = serde_json::from_value(published);
        let set = set.map_err(|error| StoreError::impossible("signing_keys", "", &error))?;
        let keys = rows.iter().map(SigningKey::try_from).collect::<Result<_, _>>()?;
        Ok(Self { signer, keys, published: document, set: Arc::new(set) })
    }
}

impl TryFrom<&sql::KeyRow> for SigningKey {
    type Error = StoreError;

    fn try_from(row: &sql::KeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            kid: row.kid.clone(),
            algorithm: algorithm(row)?,
            state: KeyState::parse(&row.state).ok_or_else(|| impossible(row, "the state is not known"))?,
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
    Algorithm::parse(&row.algorithm).ok_or_else(|| impossible(row, "the algorithm is not known"))
}

fn unseal(row: &sql::KeyRow, master_key: &MasterKey) -> Result<KeyPair, KeysError> {
    let wrong = |_| KeysError::WrongMasterKey { kid: row.kid.clone() };
    let pkcs8 = master_key.open(&row.private_key, &row.kid).map_err(wrong)?;
    let pair = KeyPair::from_pkcs8(algorithm(row)?, &pkcs8);
    Ok(pair.ok_or_else(|| impossible(row, "the private key is malformed"))?)
}

/// The keys whose tokens may live, now or later.
async fn live(store: &Store, now: DateTime<Utc>) -> Result<Vec<sql::KeyRow>, StoreError> {
    let mut conn = store.read().await?;
    let mut rows = run::all!(conn, sql::KeyRow, sql::ALL)?;
    rows.retain(|row| row.expires_at.is_none_or(|expires_at| expires_at > now));
    Ok(rows)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Notes how long this server's tokens may live, where a key does not know.
async fn allow_own_ttl(store: &Store, rows: &[sql::KeyRow], ttl: Duration) -> Result<(), StoreError> {
    if rows.iter().any(|row| row.state != "retired" && row.longest_ttl < seconds(ttl)) {
        allow_ttl(&mut store.write().await?, ttl).await?;
    }
    Ok(())
}

/// Notes that tokens may live for this long from now on, before the first one is made.
pub(crate) async fn allow_ttl(conn: &mut Conn, ttl: Duration) -> Result<(), StoreError> {
    run::execute!(conn, sql::ALLOW_TTL, seconds(ttl))?;
    Ok(())
}

/// The longest that any token lives which is good now.
pub(crate) async fn longest_ttl(conn: &mut Conn) -> Result<Duration, StoreError> {
    let longest = run::scalar!(conn, Option<i64>, sql::LONGEST_TTL)?;
    Ok(duration(longest.unwrap_or(0)))
}

/// Removes the keys whose last token has expired.
pub(crate) async fn delete_expired(conn: &mut Conn, now: DateTime<Utc>) -> Result<u64, StoreError> {
    run::execute!(conn, sql::DELETE_EXPIRED, now)
}

#[cfg(test)]
mod tests;
