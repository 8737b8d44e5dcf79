//! How one signing key takes the place of another.
//!
//! A new key is published before it signs, for as long as others may keep an older JWK set, and an old one until its last
//! token has expired. Servers agree through the database: whoever is first makes the change, and the others see it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;

use super::{KeyState, KeysError, SigningKey, duration, live, pair::KeyPair, seconds, sql, unseal};
use crate::{
    app::App,
    audit::{self, Event, Origin},
    changes,
    config::{Algorithm, Config, SigningKeyConfig, TokenConfig},
    error::Error,
    secret::MasterKey,
    store::{Conn, Store, StoreError, run},
};

/// How long a server may take to see a change of the keys, and how far clocks may differ.
const SLACK: Duration = Duration::from_secs(10);
/// A retired key is published for so much longer than its last token lives.
const FAREWELL: Duration = Duration::from_mins(1);

/// Seconds for which others may keep the JWK set: less where keys live shortly.
pub(super) fn max_age(config: &SigningKeyConfig) -> u32 {
    u32::try_from(config.ttl.as_secs() / 10).unwrap_or(u32::MAX).clamp(1, 300)
}

/// How long a key is published before it signs.
fn lead(config: &SigningKeyConfig) -> Duration {
    Duration::from_secs(max_age(config).into()) + SLACK
}

/// What is to be done with the keys.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Publish the key that will sign next.
    Make,
    /// Let it sign.
    Promote { active: String, next: String },
    /// Read them again: one has expired.
    Reload,
}

/// `opened_at`: when this server first read the keys. An algorithm that an operator chose since stays.
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
            Some(Due::Make)
        }
        _ => keys.iter().any(|key| key.expires_at.is_some_and(|at| at <= now)).then_some(Due::Reload),
    }
}

/// Does what is due. Another server may do the same at the same time: one of them wins.
pub(crate) async fn tick(app: &App, store: &Store) -> Result<(), Error> {
    let now = app.now();
    let due = due(&app.keys.snapshot.load().keys, &app.config.signing_keys, app.keys.opened_at, now);
    match due {
        None => return Ok(()),
        Some(Due::Reload) => return changes::reload_keys(app, store).await,
        Some(Due::Make) => {
            let made = Made::new(app, app.config.signing_keys.algorithm).await?;
            let not_before = now + lead(&app.config.signing_keys);
            let origin = Origin::system();
            let done = store
                .transact(async |conn| {
                    made.insert(conn, &app.config.tokens, KeyState::Next, not_before, &origin, now).await
                })
                .await;
            match done {
                Err(Error::Store(StoreError::Constraint("signing_keys_next_key"))) => {}
                done => done?,
            }
        }
        Some(Due::Promote { active, next }) => {
            let key = &app.keys.master_key;
            if store.transact(async |conn| promote(conn, key, &active, &next, now).await).await? {
                tracing::info!(kid = next, "another key signs from now on");
            }
        }
    }
    changes::catch_up(app, store).await
}

/// Holds the row that every change of the keys holds, and makes sure that the database is still sealed under this server's
/// master key: what it sealed now would be of no use after a [`rewrap`].
async fn lock(conn: &mut Conn, master_key: &MasterKey) -> Result<(), Error> {
    changes::of_keys(conn).await?;
    for row in run::all!(conn, sql::ServerKeyRow, sql::SERVER_KEYS)? {
        let wrong = |_| KeysError::WrongMasterKey { kid: row.name.clone() };
        master_key.open(&row.sealed, &row.name).map_err(wrong)?;
    }
    Ok(())
}

/// `false`: another server was faster.
async fn promote(
    conn: &mut Conn,
    master_key: &MasterKey,
    active: &str,
    next: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    lock(conn, master_key).await?;
    let Some(row) = run::optional!(conn, sql::ActiveRow, sql::ACTIVE)? else { return Ok(false) };
    if row.kid != active || !retire(conn, &row, now).await? {
        return Ok(false);
    }
    if run::execute!(conn, sql::PROMOTE, next, now)? == 0 {
        // It was deleted a moment ago: nothing is changed, and the next look finds out.
        return Err(Error::Store(StoreError::Constraint("signing_keys_active_key")));
    }
    Ok(true)
}

async fn retire(conn: &mut Conn, active: &sql::ActiveRow, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let expires_at = now + duration(active.longest_ttl) + FAREWELL;
    Ok(run::execute!(conn, sql::RETIRE, active.kid.as_str(), expires_at)? == 1)
}

/// A key pair that is not in the database yet.
struct Made {
    kid: String,
    algorithm: Algorithm,
    jwk: String,
    sealed: Vec<u8>,
    /// Under which it is sealed.
    master_key: MasterKey,
}

impl Made {
    async fn new(app: &App, algorithm: Algorithm) -> Result<Self, Error> {
        Ok(Self::under(&app.keys.master_key, algorithm).await?)
    }

    async fn under(master_key: &MasterKey, algorithm: Algorithm) -> Result<Self, KeysError> {
        let master_key = master_key.clone();
        // An RSA key takes a good part of a second to find.
        let made = tokio::task::spawn_blocking(move || {
            let (pair, pkcs8) = KeyPair::generate(algorithm).map_err(KeysError::Make)?;
            let jwk = pair.jwk();
            let kid = jwk["kid"].as_str().unwrap_or_default().to_owned();
            let sealed = master_key.seal(&pkcs8, &kid)?;
            Ok(Self { kid, algorithm, jwk: jwk.to_string(), sealed, master_key })
        });
        made.await.unwrap_or_else(|panicked| Err(KeysError::Make(panicked.to_string())))
    }

    async fn insert(
        &self,
        conn: &mut Conn,
        config: &TokenConfig,
        state: KeyState,
        not_before: DateTime<Utc>,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        lock(conn, &self.master_key).await?;
        let of_clients = run::scalar!(conn, Option<i64>, sql::LONGEST_CLIENT_TTL)?;
        // The settings of other servers may say more than this one's, as the keys know.
        let of_keys = run::scalar!(conn, Option<i64>, sql::LONGEST_TTL)?;
        let longest_ttl = [Some(seconds(config.access_token_ttl)), of_clients, of_keys].into_iter().flatten().max();
        run::execute!(
            conn,
            sql::INSERT,
            self.kid.as_str(),
            self.algorithm.as_str(),
            self.jwk.as_str(),
            self.sealed.as_slice(),
            state.as_str(),
            now,
            not_before,
            longest_ttl
        )?;
        Ok(audit::record(conn, Event::success("signing_key.created").subject(&self.kid), origin, now).await?)
    }
}

/// Makes the key of an empty database. Of several servers that start together one wins, and the others use its key.
pub(super) async fn make_first(
    store: &Store,
    master_key: &MasterKey,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<(), KeysError> {
    let made = Made::under(master_key, config.signing_keys.algorithm).await?;
    let origin = Origin::system();
    let done =
        store.transact(async |conn| made.insert(conn, &config.tokens, KeyState::Active, now, &origin, now).await).await;
    match done {
        Ok(()) | Err(Error::Store(StoreError::Constraint("signing_keys_active_key"))) => Ok(()),
        Err(Error::Store(error)) => Err(error.into()),
        Err(other) => Err(KeysError::Make(other.to_string())),
    }
}

/// Makes the key that will sign next, in the place of one that is waiting; `immediately`: it signs from now on, and services
/// that keep an older JWK set refuse its tokens until they ask again.
pub async fn rotate(
    app: &App,
    algorithm: Option<Algorithm>,
    immediately: bool,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<SigningKey, Error> {
    let config = &app.config.signing_keys;
    let made = Made::new(app, algorithm.unwrap_or(config.algorithm)).await?;
    let (state, not_before) = if immediately { (KeyState::Active, now) } else { (KeyState::Next, now + lead(config)) };
    app.store
        .transact(async |conn| {
            lock(conn, &app.keys.master_key).await?;
            run::execute!(conn, sql::DELETE_NEXT)?;
            if immediately && let Some(active) = run::optional!(conn, sql::ActiveRow, sql::ACTIVE)? {
                retire(conn, &active, now).await?;
            }
            made.insert(conn, &app.config.tokens, state, not_before, origin, now).await
        })
        .await?;
    changes::catch_up(app, &app.store).await?;
    find(app, &made.kid).await
}

/// Takes a compromised key away, and with it all its tokens. In the place of the active one another signs at once.
pub async fn delete(app: &App, kid: &str, origin: &Origin, now: DateTime<Utc>) -> Result<(), Error> {
    let made = Made::new(app, app.config.signing_keys.algorithm).await?;
    app.store
        .transact(async |conn| {
            lock(conn, &app.keys.master_key).await?;
            let keys = run::all!(conn, sql::KeyRow, sql::ALL)?;
            let key = keys.iter().find(|key| key.kid == kid).ok_or_else(|| not_found(kid))?;
            if key.state == KeyState::Active.as_str() {
                // Retired first: the new one takes over how long tokens may live.
                run::execute!(conn, sql::RETIRE, kid, now)?;
                made.insert(conn, &app.config.tokens, KeyState::Active, now, origin, now).await?;
            }
            run::execute!(conn, sql::DELETE, kid)?;
            Ok(audit::record(conn, Event::success("signing_key.deleted").subject(&kid), origin, now).await?)
        })
        .await?;
    changes::catch_up(app, &app.store).await
}

/// All keys whose tokens may live, by age.
pub async fn list(app: &App) -> Result<Vec<SigningKey>, Error> {
    let rows = live(&app.store, app.now()).await?;
    Ok(rows.iter().map(SigningKey::try_from).collect::<Result<_, _>>()?)
}

async fn find(app: &App, kid: &str) -> Result<SigningKey, Error> {
    list(app).await?.into_iter().find(|key| key.kid == kid).ok_or_else(|| not_found(kid))
}

fn not_found(kid: &str) -> Error {
    Error::NotFound { what: "signing key", name: kid.to_owned() }
}

/// Seals all that is sealed in the database under another master key. Servers that run go on with what they have in memory;
/// they, and all that start, need the new key from then on.
pub async fn rewrap(app: &App, new: &MasterKey) -> Result<(), Error> {
    let old = &app.keys.master_key;
    app.store
        .transact(async |conn| {
            lock(conn, old).await?;
            for row in run::all!(conn, sql::KeyRow, sql::ALL)? {
                unseal(&row, old)?;
                let sealed = reseal(old, new, &row.private_key, &row.kid)?;
                run::execute!(conn, sql::RESEAL, row.kid.as_str(), sealed)?;
            }
            for row in run::all!(conn, sql::ServerKeyRow, sql::SERVER_KEYS)? {
                let sealed = reseal(old, new, &row.sealed, &row.name)?;
                run::execute!(conn, sql::RESEAL_SERVER_KEY, row.name.as_str(), sealed)?;
            }
            let event = Event::success("signing_key.rewrapped");
            Ok(audit::record(conn, event, &Origin::system(), app.now()).await?)
        })
        .await
}

fn reseal(old: &MasterKey, new: &MasterKey, sealed: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let plain = old.open(sealed, name).map_err(|_| KeysError::WrongMasterKey { kid: name.to_owned() })?;
    Ok(new.seal(plain.expose_secret(), name)?)
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
            (vec![active.clone()], day - lead, Some(Due::Make)),
            (vec![active.clone(), next.clone()], day - 1, None),
            (vec![active.clone(), next.clone()], day, promote),
            (vec![active.clone(), old.clone()], 899, None),
            (vec![active.clone(), old], 900, Some(Due::Reload)),
        ] {
            assert_eq!(due(&keys, &config, at(0), at(now)), expected, "{keys:?} at {now}");
        }
        // Another algorithm is a rotation.
        let other = self::config(&["--signing-key-ttl", "1d", "--signing-algorithm", "EdDSA"]);
        assert_eq!(due(std::slice::from_ref(&active), &other, at(0), at(1)), Some(Due::Make));
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
