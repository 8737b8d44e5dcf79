//! Tests of opening the keys of a database. Tests of rotation are in `rotate.rs` and, over HTTP, in
//! `tests/api/rotation.rs`.

use chrono::TimeDelta;
use grantd_guard::Guard;

use super::*;
use crate::{
    clock::Clock,
    config::{Config, DatabaseConfig, DatabaseUrl},
};

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
        let store = Store::open(&config, Clock::manual(start())).await.unwrap();
        Self { _directory: directory, store, master_key: MasterKey::generate().unwrap() }
    }

    async fn open(&self, algorithm: Algorithm, now: DateTime<Utc>) -> Result<SigningKeys, KeysError> {
        SigningKeys::open(&self.store, &self.master_key, &config(algorithm), now).await
    }
}

fn config(algorithm: Algorithm) -> Config {
    // Sets the database, too: with a Postgres URL in the environment, a master key would be required.
    let flags = ["--database-url", "sqlite://unused.db", "--access-token-ttl", "15m", "--signing-algorithm"];
    Config::from_flags(flags.into_iter().chain([algorithm.as_str()])).unwrap()
}

impl SigningKeys {
    fn kids(&self) -> Vec<String> {
        self.snapshot.load().keys.iter().map(|key| key.kid.clone()).collect()
    }
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
    assert_eq!(first.kids(), again.kids());
    assert!(accepts(&again, &first.sign(&claims()).unwrap()));
}

#[tokio::test]
async fn servers_that_start_together_share_one_key() {
    let place = Place::new().await;
    let open = || place.open(Algorithm::ES256, start());
    let (one, other, third) = tokio::join!(open(), open(), open());
    let kids = [one, other, third].map(|keys| keys.unwrap().kids());
    assert!(kids.iter().all(|kid| *kid == kids[0]));
    assert_eq!(kids[0].len(), 1);
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
    assert_eq!(before.kids(), after.kids());
}
