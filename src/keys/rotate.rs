//! Rotation of signing keys.
//!
//! The states are `next`, `active`, `retired`. A new key is published before it signs, for as long as services may cache
//! an older JWK set. A retired key is published until its last token has expired. The servers coordinate through the
//! database: the first one makes the change, and the others find it made.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;

use super::{
    KeyState, KeysError, SigningKey, SigningKeys, duration, live, open_sealed, pair::KeyPair, seconds, sql, unseal,
};
use crate::{
    audit::{self, Event, Kind, Origin},
    config::{Algorithm, Config, SigningKeyConfig},
    error::Error,
    passwords,
    secret::MasterKey,
    store::{Conn, Store, StoreError, Transaction, conn},
};

/// Allowance for the time until all servers have synced a change of the keys, and for clock skew.
const SLACK: Duration = Duration::from_secs(10);
/// How much longer a retired key is published than its last token is valid.
const FAREWELL: Duration = Duration::from_mins(1);

/// Returns the `max-age` of the JWK set in seconds: a tenth of the lifetime of keys, at most five minutes.
pub(crate) fn max_age(config: &SigningKeyConfig) -> u32 {
    u32::try_from(config.ttl.as_secs() / 10).unwrap_or(u32::MAX).clamp(1, 300)
}

/// Returns how long a key is published before it signs.
fn lead(config: &SigningKeyConfig) -> Duration {
    // Longer than any cache of the JWK set. Otherwise services would get tokens with a `kid` that they do not know, and
    // refuse them or fetch the set all at once.
    Duration::from_secs(max_age(config).into()) + SLACK
}

/// The next step of the scheduled rotation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Create the next key and publish it.
    Publish,
    /// Retire the active key and make the next one active.
    Promote { active: String, next: String },
    /// Read the keys again, since a retired one has expired.
    Reload,
}

/// Returns the step that is due. `opened_at`: when this server first read the keys. A key that was created later may have
/// another algorithm than the setting: an operator chose it.
fn due(keys: &[SigningKey], config: &SigningKeyConfig, opened_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<Due> {
    let of_state = |state| keys.iter().find(move |key| key.state == state);
    let active = of_state(KeyState::Active)?;
    match of_state(KeyState::Next) {
        Some(next) if next.not_before <= now => {
            Some(Due::Promote { active: active.kid.clone(), next: next.kid.clone() })
        }
        None if (active.algorithm != config.algorithm && active.created_at <= opened_at)
            || now + lead(config) >= active.not_before + config.ttl =>
        {
            Some(Due::Publish)
        }
        _ => keys.iter().any(|key| key.expires_at.is_some_and(|at| at <= now)).then_some(Due::Reload),
    }
}

/// Locks the keys and returns the rows of `server_keys`. Every change of signing keys or token lifetimes takes this lock,
/// which comes after roles, clients, users and sessions in the lock order, and before `changes`.
pub(super) async fn lock(tx: &mut Transaction) -> Result<Vec<sql::ServerKeyRow>, StoreError> {
    conn::all!(tx, sql::ServerKeyRow, sql::LOCK_SERVER_KEYS)
}

/// A new key pair, sealed and not yet in the database.
pub struct NewKey {
    kid: String,
    algorithm: Algorithm,
    jwk: String,
    sealed: Vec<u8>,
}

impl NewKey {
    async fn generate(master_key: &MasterKey, algorithm: Algorithm) -> Result<Self, KeysError> {
        let master_key = master_key.clone();
        // Generating an RSA key takes a good part of a second, which would block the other requests of this thread.
        let generated = tokio::task::spawn_blocking(move || {
            let (pair, pkcs8) = KeyPair::generate(algorithm).map_err(KeysError::Make)?;
            let jwk = pair.jwk();
            let kid = jwk["kid"].as_str().unwrap_or_default().to_owned();
            let sealed = master_key.seal(&pkcs8, &kid)?;
            Ok(Self { kid, algorithm, jwk: jwk.to_string(), sealed })
        });
        generated.await.unwrap_or_else(|panicked| Err(KeysError::Make(panicked.to_string())))
    }

    async fn insert(
        &self,
        tx: &mut Transaction,
        default: Duration,
        state: KeyState,
        not_before: DateTime<Utc>,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // Clients, and the settings of other servers, may allow longer lifetimes than this server's setting. The new key
        // takes them over: with less, it would be deleted after its retirement while some of its tokens are valid.
        let longest = conn::optional!(tx, (Option<i64>, Option<i64>), sql::LONGEST_TTLS)?;
        let (longest_ttl, default_ttl) = longest.unwrap_or_default();
        let own = seconds(default);
        conn::execute!(
            tx,
            sql::INSERT,
            self.kid.as_str(),
            self.algorithm.as_str(),
            self.jwk.as_str(),
            self.sealed.as_slice(),
            state.as_str(),
            now,
            not_before,
            longest_ttl.unwrap_or_default().max(own),
            default_ttl.unwrap_or_default().max(own)
        )?;
        tx.signing_keys_changed();
        Ok(audit::record(tx, Event::success(Kind::SigningKeyCreated).subject(&self.kid), origin, now).await?)
    }
}

/// Creates the first key of an empty database. Of several servers that start at once, one creates it and the others use
/// it.
pub(super) async fn create_first(
    store: &Store,
    master_key: &MasterKey,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<(), KeysError> {
    let (new, ttl) =
        (NewKey::generate(master_key, config.signing_keys.algorithm).await?, config.tokens.access_token_ttl);
    let origin = Origin::system();
    let done = store.transact(async |tx| new.insert(tx, ttl, KeyState::Active, now, &origin, now).await).await;
    match done {
        // The constraint allows one active key. A violation means that another server was first.
        Ok(()) | Err(Error::Store(StoreError::Constraint("signing_keys_active_key"))) => Ok(()),
        Err(Error::Store(error)) => Err(error.into()),
        Err(other) => Err(KeysError::Make(other.to_string())),
    }
}

impl SigningKeys {
    /// Returns the step of the scheduled rotation that is due.
    pub(crate) fn due(&self, now: DateTime<Utc>) -> Option<Due> {
        due(&self.snapshot.load().keys, &self.config, self.opened_at, now)
    }

    /// Generates a key pair, outside the transaction that inserts it, which would hold its locks for that long.
    /// `algorithm`: `None` means the server's setting.
    pub async fn generate(&self, algorithm: Option<Algorithm>) -> Result<NewKey, Error> {
        Ok(NewKey::generate(&self.master_key, algorithm.unwrap_or(self.config.algorithm)).await?)
    }

    /// Locks the keys, and checks that the database is sealed under this server's master key. Without the check, a server
    /// that still has the old key after [`SigningKeys::rewrap`] would insert a signing key that no other server can open.
    async fn lock(&self, tx: &mut Transaction) -> Result<Vec<sql::ServerKeyRow>, Error> {
        let rows = lock(tx).await?;
        for row in &rows {
            open_sealed(&self.master_key, &row.sealed, &row.name)?;
        }
        Ok(rows)
    }

    /// Publishes the next key, on schedule; `false`: another server was first.
    pub(crate) async fn publish(&self, tx: &mut Transaction, new: &NewKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.lock(tx).await?;
        // Read under the lock: of several servers, the second finds the key of the first.
        if conn::all!(tx, sql::KeyRow, sql::ALL)?.iter().any(|row| row.is(KeyState::Next)) {
            return Ok(false);
        }
        let not_before = now + lead(&self.config);
        new.insert(tx, self.default_ttl, KeyState::Next, not_before, &Origin::system(), now).await?;
        Ok(true)
    }

    /// Makes the next key active and retires the active one, on schedule; `false`: another server was first.
    pub(crate) async fn promote(
        &self,
        tx: &mut Transaction,
        active: &str,
        next: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        self.lock(tx).await?;
        let Some(row) = conn::optional!(tx, sql::ActiveRow, sql::ACTIVE)? else { return Ok(false) };
        // Checked under the lock. Another active key than the one that this server knew: another server has promoted
        // already.
        if row.kid != active || !retire(tx, &row, now).await? {
            return Ok(false);
        }
        if conn::execute!(tx, sql::PROMOTE, next, now)? == 0 {
            // The next key was deleted meanwhile. The error rolls back the retirement: without an active key no server
            // could sign.
            return Err(Error::Store(StoreError::Constraint("signing_keys_active_key")));
        }
        tx.signing_keys_changed();
        Ok(true)
    }

    /// Rotates the signing key: `new` becomes the next key, and replaces an existing next key. `immediately`: it signs at
    /// once, and services with a cached JWK set refuse its tokens until they fetch the set again.
    pub async fn rotate(
        &self,
        tx: &mut Transaction,
        new: &NewKey,
        immediately: bool,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<SigningKey, Error> {
        self.lock(tx).await?;
        // A next key has signed nothing yet, so it can be deleted without a grace period.
        conn::execute!(tx, sql::DELETE_NEXT)?;
        if immediately && let Some(active) = conn::optional!(tx, sql::ActiveRow, sql::ACTIVE)? {
            retire(tx, &active, now).await?;
        }
        let (state, not_before) =
            if immediately { (KeyState::Active, now) } else { (KeyState::Next, now + lead(&self.config)) };
        new.insert(tx, self.default_ttl, state, not_before, origin, now).await?;
        list(tx, now).await?.into_iter().find(|key| key.kid == new.kid).ok_or_else(|| not_found(&new.kid))
    }

    /// Retires a compromised key: its tokens are invalid at once, and it is no longer published. If it is the active key,
    /// `new` becomes the active one.
    pub async fn retire(
        &self,
        tx: &mut Transaction,
        kid: &str,
        new: &NewKey,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.lock(tx).await?;
        let keys = conn::all!(tx, sql::KeyRow, sql::ALL)?;
        let key = keys.iter().find(|key| key.kid == kid).ok_or_else(|| not_found(kid))?;
        if key.is(KeyState::Active) {
            // Retired first, since there can be only one active key, and deleted last: the new key takes over its
            // lifetimes.
            conn::execute!(tx, sql::RETIRE, kid, now)?;
            new.insert(tx, self.default_ttl, KeyState::Active, now, origin, now).await?;
        }
        conn::execute!(tx, sql::DELETE, kid)?;
        tx.signing_keys_changed();
        Ok(audit::record(tx, Event::success(Kind::SigningKeyDeleted).subject(&kid), origin, now).await?)
    }

    /// Seals all secrets in the database under another master key. Running servers go on signing with the active key that
    /// they have in memory. They need the new master key for the next key, and every server needs it to start.
    pub async fn rewrap(&self, tx: &mut Transaction, new: &MasterKey, now: DateTime<Utc>) -> Result<(), Error> {
        let old = &self.master_key;
        let server_keys = self.lock(tx).await?;
        for row in conn::all!(tx, sql::KeyRow, sql::ALL)? {
            unseal(&row, old)?;
            let sealed = reseal(old, new, &row.private_key, &row.kid)?;
            conn::execute!(tx, sql::RESEAL, row.kid.as_str(), sealed)?;
        }
        for row in server_keys {
            let sealed = reseal(old, new, &row.sealed, &row.name)?;
            conn::execute!(tx, sql::RESEAL_SERVER_KEY, row.name.as_str(), sealed)?;
        }
        passwords::rewrap_firebase_keys(tx, old, new).await?;
        tx.signing_keys_changed();
        let event = Event::success(Kind::SigningKeyRewrapped);
        Ok(audit::record(tx, event, &Origin::system(), now).await?)
    }
}

async fn retire(conn: &mut Conn, active: &sql::ActiveRow, now: DateTime<Utc>) -> Result<bool, StoreError> {
    // Published until the last token has expired, also a token that another server signs before it syncs this change.
    let expires_at = now + duration(active.longest_ttl) + FAREWELL;
    Ok(conn::execute!(conn, sql::RETIRE, active.kid.as_str(), expires_at)? == 1)
}

fn reseal(old: &MasterKey, new: &MasterKey, sealed: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let plain = open_sealed(old, sealed, name)?;
    Ok(new.seal(plain.expose_secret(), name)?)
}

/// Returns all keys that are next, active, or retired with tokens that may still be valid, by age.
pub async fn list(conn: &mut Conn, now: DateTime<Utc>) -> Result<Vec<SigningKey>, Error> {
    let rows = live(conn, now).await?;
    Ok(rows.iter().map(SigningKey::try_from).collect::<Result<_, _>>()?)
}

fn not_found(kid: &str) -> Error {
    Error::NotFound { what: "signing key", name: kid.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> SigningKeyConfig {
        let flags = ["--database-url", "sqlite://unused.db"].iter().chain(flags).copied();
        Config::from_flags(flags).unwrap().signing_keys
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn key(kid: &str, algorithm: Algorithm, state: KeyState, not_before: i64, expires_at: Option<i64>) -> SigningKey {
        SigningKey {
            kid: kid.to_owned(),
            algorithm,
            state,
            created_at: at(0),
            not_before: at(not_before),
            expires_at: expires_at.map(at),
        }
    }

    #[test]
    fn what_is_due_follows_from_the_keys_and_the_time() {
        let day = 86_400;
        let config = config(&["--signing-key-ttl", "1d"]);
        let active = key("a", Algorithm::ES256, KeyState::Active, 0, None);
        let next = key("n", Algorithm::ES256, KeyState::Next, day, None);
        let old = key("o", Algorithm::ES256, KeyState::Retired, -day, Some(900));
        let promote = Some(Due::Promote { active: "a".to_owned(), next: "n".to_owned() });
        let lead = 300 + 10;
        for (keys, now, expected) in [
            (vec![active.clone()], day - lead - 1, None),
            (vec![active.clone()], day - lead, Some(Due::Publish)),
            (vec![active.clone(), next.clone()], day - 1, None),
            (vec![active.clone(), next.clone()], day, promote),
            (vec![active.clone(), old.clone()], 899, None),
            (vec![active.clone(), old], 900, Some(Due::Reload)),
        ] {
            assert_eq!(due(&keys, &config, at(0), at(now)), expected, "{keys:?} at {now}");
        }
        // Another algorithm is a rotation.
        let other = self::config(&["--signing-key-ttl", "1d", "--signing-algorithm", "EdDSA"]);
        assert_eq!(due(std::slice::from_ref(&active), &other, at(0), at(1)), Some(Due::Publish));
        // Unless an operator chose it while this server ran.
        assert_eq!(due(&[active], &other, at(-1), at(1)), None);
    }

    #[test]
    fn keys_that_live_shortly_are_kept_shortly() {
        for (ttl, expected) in [("30d", 300), ("10m", 60), ("30s", 3), ("1s", 1)] {
            assert_eq!(max_age(&config(&["--signing-key-ttl", ttl])), expected);
        }
    }
}
