//! Signing keys: made, kept sealed in the database, published, used.

mod pair;
mod sql;

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use grantd_guard::Claims;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use self::pair::KeyPair;
use crate::{
    app::App,
    audit::{self, Event, Origin},
    config::{Algorithm, TokenConfig},
    error::Error,
    http::cache::cacheable,
    secret::{MasterKey, NoRandomness},
    store::{Conn, Store, StoreError, run},
};

/// Signs access tokens, and says with which keys. Keys are parsed once, never for a request.
pub struct SigningKeys(ArcSwap<Snapshot>);

/// The keys as the database had them.
struct Snapshot {
    signer: Signer,
    /// As it is published (RFC 7517 §5).
    published: Value,
    set: Arc<JwkSet>,
}

/// The active key.
struct Signer {
    pair: KeyPair,
    /// The JOSE header of all its tokens, in base64url, with the dot.
    header: String,
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
    /// Reads the keys; makes one where there is none, or none of the algorithm that is set.
    pub async fn open(
        store: &Store,
        master_key: &MasterKey,
        config: &TokenConfig,
        now: DateTime<Utc>,
    ) -> Result<Self, KeysError> {
        let mut rows = published(store, now).await?;
        if !rows.iter().any(|row| row.state == "active" && row.algorithm == config.algorithm.as_str()) {
            // The key that is there must open first: a wrong master key changes nothing.
            rows.iter().try_for_each(|row| unseal(row, master_key).map(drop))?;
            make_active(store, master_key, config, now).await?;
            rows = published(store, now).await?;
        }
        Ok(Self(ArcSwap::from_pointee(Snapshot::of(&rows, master_key)?)))
    }

    /// The claims as a JWT, signed by the active key (RFC 9068 §2.1).
    ///
    /// `jsonwebtoken` would read the private key's PKCS #8 anew for each signature, hence the few lines here.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let signer = &self.0.load().signer;
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
        Arc::clone(&self.0.load().set)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl Snapshot {
    fn of(rows: &[sql::KeyRow], master_key: &MasterKey) -> Result<Self, KeysError> {
        let impossible = |row: &sql::KeyRow, problem: &str| StoreError::impossible("signing_keys", &row.kid, problem);
        let mut signer = None;
        let mut keys = Vec::new();
        for row in rows {
            let jwk: Value =
                serde_json::from_str(&row.public_jwk).map_err(|_| impossible(row, "the JWK is no JSON"))?;
            keys.push(jwk);
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
        let published = json!({"keys": keys});
        let set = serde_json::from_value(published.clone());
        let set = set.map_err(|error| StoreError::impossible("signing_keys", "", &error))?;
        Ok(Self { signer, published, set: Arc::new(set) })
    }
}

fn unseal(row: &sql::KeyRow, master_key: &MasterKey) -> Result<KeyPair, KeysError> {
    let impossible = |problem: &str| StoreError::impossible("signing_keys", &row.kid, problem);
    let wrong = |_| KeysError::WrongMasterKey { kid: row.kid.clone() };
    let pkcs8 = master_key.open(&row.private_key, &row.kid).map_err(wrong)?;
    let algorithm = Algorithm::parse(&row.algorithm).ok_or_else(|| impossible("the algorithm is not known"))?;
    let pair = KeyPair::from_pkcs8(algorithm, &pkcs8).ok_or_else(|| impossible("the private key is malformed"))?;
    Ok(pair)
}

/// The keys whose tokens may still live.
async fn published(store: &Store, now: DateTime<Utc>) -> Result<Vec<sql::KeyRow>, StoreError> {
    let mut conn = store.read().await?;
    let mut rows = run::all!(conn, sql::KeyRow, sql::ALL)?;
    rows.retain(|row| row.expires_at.is_none_or(|expires_at| expires_at > now));
    Ok(rows)
}

/// Makes a key of the algorithm that is set and lets it sign from now on. Of several servers that do so at once one wins,
/// and the others use its key.
async fn make_active(
    store: &Store,
    master_key: &MasterKey,
    config: &TokenConfig,
    now: DateTime<Utc>,
) -> Result<(), KeysError> {
    let (pair, pkcs8) = KeyPair::generate(config.algorithm).map_err(KeysError::Make)?;
    let jwk = pair.jwk();
    let kid = jwk["kid"].as_str().unwrap_or_default().to_owned();
    let sealed = master_key.seal(&pkcs8, &kid)?;
    let made = store
        .transact(async |conn| {
            retire_others(conn, config, now).await?;
            insert(conn, &kid, config.algorithm, &jwk, &sealed, now).await?;
            Ok(audit::record(conn, Event::success("signing_key.created").subject(&kid), &Origin::system(), now).await?)
        })
        .await;
    match made {
        Ok(()) | Err(Error::Store(StoreError::Constraint("signing_keys_active_key"))) => Ok(()),
        Err(Error::Store(error)) => Err(error.into()),
        Err(other) => Err(KeysError::Make(other.to_string())),
    }
}

/// Stops an active key of another algorithm. It stays published until the last token that it can have signed has expired.
async fn retire_others(conn: &mut Conn, config: &TokenConfig, now: DateTime<Utc>) -> Result<(), StoreError> {
    let of_clients = run::scalar!(conn, Option<i64>, sql::LONGEST_CLIENT_TTL)?;
    let of_clients =
        of_clients.and_then(|seconds| u64::try_from(seconds).ok()).map_or(Duration::ZERO, Duration::from_secs);
    let expires_at = now + config.access_token_ttl.max(of_clients);
    run::execute!(conn, sql::RETIRE_OTHERS, config.algorithm.as_str(), expires_at)?;
    Ok(())
}

async fn insert(
    conn: &mut Conn,
    kid: &str,
    algorithm: Algorithm,
    jwk: &Value,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    run::execute!(conn, sql::INSERT, kid, algorithm.as_str(), jwk.to_string(), sealed, "active", now)?;
    Ok(())
}

/// The public keys
///
/// For services that check tokens by themselves (RFC 7517 §5).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "oauth",
    responses(
        (status = 200, description = "The JWK set", body = Object),
        (status = 304, description = "Not changed since the ETag of If-None-Match"),
    )
)]
pub(crate) async fn jwks(app: web::Data<App>, req: HttpRequest) -> HttpResponse {
    cacheable(&req, &app.keys.0.load().published)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use grantd_guard::Guard;

    use super::*;
    use crate::config::{Config, DatabaseConfig, DatabaseUrl};

    struct Place {
        _directory: tempfile::TempDir,
        store: Store,
        master_key: MasterKey,
    }

    impl Place {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let url = DatabaseUrl::Sqlite(directory.path().join("grantd.db"));
            let config = DatabaseConfig { url, connections: 1, timeout: Duration::from_secs(5) };
            let store = Store::open(&config).await.unwrap();
            Self { _directory: directory, store, master_key: MasterKey::generate().unwrap() }
        }

        async fn open(&self, algorithm: Algorithm, now: DateTime<Utc>) -> Result<SigningKeys, KeysError> {
            SigningKeys::open(&self.store, &self.master_key, &config(algorithm), now).await
        }
    }

    fn config(algorithm: Algorithm) -> TokenConfig {
        // The database too, whatever the environment says: with Postgres a master key would be asked for.
        let flags = ["--database-url", "sqlite://unused.db", "--access-token-ttl", "15m", "--signing-algorithm"];
        Config::from_flags(flags.into_iter().chain([algorithm.as_str()])).unwrap().tokens
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn claims() -> Claims {
        let iat = start().timestamp();
        let claims = json!({
            "iss": "https://id.example", "sub": "s", "aud": "a", "exp": iat + 900, "iat": iat, "jti": "j",
            "client_id": "default", "scope": "account",
        });
        serde_json::from_value(claims).unwrap()
    }

    fn accepts(keys: &SigningKeys, token: &str) -> bool {
        let guard = Guard::from_keys("https://id.example", ["a"], &keys.jwk_set()).unwrap();
        guard.verify(token, start().timestamp() + 1).is_ok()
    }

    #[tokio::test]
    async fn a_restart_has_the_same_key() {
        let place = Place::new().await;
        let first = place.open(Algorithm::ES256, start()).await.unwrap();
        let again = place.open(Algorithm::ES256, start() + TimeDelta::days(1)).await.unwrap();
        assert_eq!(first.0.load().published, again.0.load().published);
        assert!(accepts(&again, &first.sign(&claims()).unwrap()));
    }

    #[tokio::test]
    async fn servers_that_start_together_share_one_key() {
        let place = Place::new().await;
        let open = || place.open(Algorithm::ES256, start());
        let (one, other, third) = tokio::join!(open(), open(), open());
        let kids = [one, other, third].map(|keys| keys.unwrap().0.load().published.clone());
        assert!(kids.iter().all(|kid| *kid == kids[0]));
        assert_eq!(kids[0]["keys"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_key_of_another_algorithm_is_published_until_its_tokens_have_expired() {
        let place = Place::new().await;
        let old = place.open(Algorithm::ES256, start()).await.unwrap().sign(&claims()).unwrap();
        let keys = place.open(Algorithm::EdDSA, start()).await.unwrap();
        assert!(accepts(&keys, &old) && accepts(&keys, &keys.sign(&claims()).unwrap()));
        assert!(accepts(&place.open(Algorithm::EdDSA, start() + TimeDelta::seconds(899)).await.unwrap(), &old));
        assert!(!accepts(&place.open(Algorithm::EdDSA, start() + TimeDelta::seconds(900)).await.unwrap(), &old));
    }

    #[tokio::test]
    async fn tokens_of_a_client_that_live_longer_keep_a_retired_key_published() {
        const CLIENT: &str = "INSERT INTO clients (client_id, name, grant_types, scopes, audiences, every_scope, \
             access_token_ttl, disabled, created_at, updated_at) VALUES ('c', 'c', '', '', '', $1, 3600, $1, $2, $2)";
        let place = Place::new().await;
        let mut conn = place.store.write().await.unwrap();
        run::execute!(conn, CLIENT, false, start()).unwrap();
        drop(conn);
        let old = place.open(Algorithm::ES256, start()).await.unwrap().sign(&claims()).unwrap();
        place.open(Algorithm::EdDSA, start()).await.unwrap();
        assert!(accepts(&place.open(Algorithm::EdDSA, start() + TimeDelta::seconds(3599)).await.unwrap(), &old));
        assert!(!accepts(&place.open(Algorithm::EdDSA, start() + TimeDelta::seconds(3600)).await.unwrap(), &old));
    }

    #[tokio::test]
    async fn a_wrong_master_key_is_told_and_changes_nothing() {
        let mut place = Place::new().await;
        let before = place.open(Algorithm::ES256, start()).await.unwrap();
        let right = std::mem::replace(&mut place.master_key, MasterKey::generate().unwrap());
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
            assert!(matches!(place.open(algorithm, start()).await, Err(KeysError::WrongMasterKey { .. })));
        }
        place.master_key = right;
        let after = place.open(Algorithm::ES256, start()).await.unwrap();
        assert_eq!(before.0.load().published, after.0.load().published);
    }
}
