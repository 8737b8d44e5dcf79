//! Protection against password guessing: budgets of failures, shared by all servers. An attempt is reserved in the database
//! before the password is hashed, so that neither a restart nor a thousand requests at once get more guesses.
//!
//! A stranger can use up the budget of an account from networks and devices that it does not know, and no other: users who
//! logged in before from where they are have a budget of their own.

mod budget;
mod device;
mod lines;
mod recent;
mod refusal;
mod reservation;
pub(crate) mod sql;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry::trace::FutureExt as _;
use tokio::time::Instant;

pub use self::{
    budget::{Budget, Refusals},
    device::Device,
    reservation::Reservation,
};
use self::{
    budget::{Key, KeyMaker, Keys},
    device::DeviceTokens,
    lines::{Lines, Others, Turn},
    recent::{Recent, Why},
    refusal::Refusal,
    reservation::Charge,
};
use crate::{
    config::{Quota, ThrottleConfig},
    error::Error,
    ids::UserId,
    secret::NoRandomness,
    series::Series,
    store::{Conn, Store, StoreError, conn, retried},
};

/// How long a network is known after a login.
const KNOWN: TimeDelta = TimeDelta::days(90);
/// How often an attempt is tried. More than the line of a budget has places would be needed only if servers compete.
const MAX_TRIES: usize = 256;
/// How often an attempt is tried again because others, outside its line, were trying at the same time.
const COLLISIONS: usize = 3;
/// The length of a series of refusals, of which the first is recorded.
const SERIES: TimeDelta = TimeDelta::hours(1);
/// A number of failures that is never reached, for a budget that is off; a difference of it fits into 32 bits.
const NEVER: i64 = 2_000_000_000;

/// An attempt to present a password.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Whose password; `None`: the name does not exist.
    pub user: Option<UserId>,
    /// The name that was presented, in any case. Strangers have a budget for each name: if a user's two names shared one,
    /// it would tell that they belong together, and so exist.
    pub name: &'a str,
    /// The address of the end user.
    pub address: Option<IpAddr>,
    /// A device token, valid or not.
    pub device_token: Option<&'a str>,
    /// The user's device tokens that were issued up to this time are invalid.
    pub devices_since: Option<DateTime<Utc>>,
}

/// Why an attempt is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// The budget that is used up.
    pub budget: Budget,
    /// Seconds until the next attempt, at least 1.
    pub retry_after: u64,
    /// What the response says of the policy, whichever budget it is.
    pub quota: Quota,
    key: Key,
}

/// Why an attempt of the last second was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// A budget is used up, still.
    Throttled(Throttled),
    /// The hash queue had no place for a stranger, and may have one now.
    Crowded,
}

/// What is to be reserved.
#[derive(Clone)]
struct Request {
    keys: Keys,
    user: Option<UserId>,
    device: Option<Device>,
    /// The user of the device token that was presented, whether or not it is valid for this account.
    owner: Option<UserId>,
    now: DateTime<Utc>,
}

impl Request {
    /// Remembers why it is refused, as of now: it may have waited for long. With a device token of the account, valid or not,
    /// nothing is remembered: a valid one has another budget.
    fn remember(&self, throttle: &Inner, why: Why) {
        if self.owner.is_none() || self.owner != self.user {
            throttle.recent.add((self.keys.account, self.keys.network, self.owner), why, throttle.store.now());
        }
    }
}

/// The budgets of all accounts, devices and networks. Clones share them.
#[derive(Clone)]
pub struct Throttle(Arc<Inner>);

struct Inner {
    store: Store,
    /// For attempts that were not hashed yet, whose number nothing bounds.
    half: Store,
    login: Option<Quota>,
    network: Option<Quota>,
    /// The longest wait for other attempts.
    wait: Duration,
    keys: KeyMaker,
    devices: DeviceTokens,
    lines: Lines,
    recent: Recent,
    /// Selects the refusals that are recorded.
    series: Series<Key>,
    refusals: Refusals,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    /// Returns the budgets in a database. `key` makes the keys of budgets, `device_key` device tokens.
    #[must_use]
    pub fn new(store: &Store, config: &ThrottleConfig, wait: Duration, key: &[u8; 32], device_key: &[u8; 32]) -> Self {
        Self(Arc::new(Inner {
            store: store.clone(),
            half: store.half(),
            login: config.login_failures,
            network: config.network_failures,
            wait,
            keys: KeyMaker::new(key),
            devices: DeviceTokens::new(device_key),
            lines: Lines::default(),
            recent: Recent::new(),
            series: Series::of(SERIES),
            refusals: Refusals::default(),
        }))
    }

    /// Returns why an attempt was refused, if it repeats one of the last second: the database need not be asked again, not
    /// even for the user.
    #[must_use]
    pub fn refused_lately(
        &self,
        name: &str,
        address: Option<IpAddr>,
        device_token: Option<&str>,
        now: DateTime<Utc>,
    ) -> Option<Repeated> {
        let owner = device_token.and_then(|token| self.0.devices.owner(token));
        Some(match self.0.recent.get((self.0.keys.account(name), self.0.keys.network(address), owner), now)? {
            Why::Budget(refusal) => Repeated::Throttled(self.refused(&refusal)),
            Why::Queue => Repeated::Crowded,
        })
    }

    /// Reserves an attempt. It counts as a failure until its result is known.
    ///
    /// Waits for attempts of this server on the same budget while it is used up by them.
    pub async fn reserve(
        &self,
        attempt: Attempt<'_>,
        now: DateTime<Utc>,
    ) -> Result<Result<Reservation, Throttled>, Error> {
        let user = attempt.user;
        let device = user
            .zip(attempt.device_token)
            .and_then(|(user, token)| self.0.devices.verify(token, user, attempt.devices_since, now));
        let keys = self.0.keys.keys(&attempt, device.as_ref());
        let owner = attempt.device_token.and_then(|token| self.0.devices.owner(token));
        let request = Request { keys, user, device, owner, now };
        if self.0.login.is_none() && self.0.network.is_none() {
            return Ok(Ok(Reservation::new(self.clone(), request, None)));
        }
        let until = Instant::now() + self.0.wait;
        // Kept in the lines of account and network, which come after the pair's: others of the pair wait, and a known pair
        // does not wait for strangers.
        let first = self.0.lines.turn(keys.trusted(), until).await;
        let (mut line, mut collisions) = (None::<Turn>, 0);
        for _ in 0..MAX_TRIES {
            let trying = self.0.lines.try_on(keys.all());
            if let Some(reservation) = self.try_reserve(&request).await? {
                return Ok(Ok(reservation));
            }
            drop(trying);
            // Before the budgets are read: an attempt that is settled meanwhile is waited for, and not missed.
            let others = keys.all().map(|key| (key, self.0.lines.others(key)));
            let refusal = self.refusal(&keys, now).await?;
            let others = others.into_iter().find(|(key, _)| *key == refusal.key).map(|(_, others)| others);
            let Others { running, waiting, trying } = others.unwrap_or_default();
            let own = [&first, &line].into_iter().flatten().find(|turn| turn.key() == refusal.key);
            let is_over = match own {
                _ if first.is_none() || Instant::now() >= until => true,
                Some(turn) if running => !turn.settled(until).await,
                // One that is not in this line may have been reserved a moment ago, and is not counted yet.
                Some(_) if trying && collisions < COLLISIONS => {
                    collisions += 1;
                    false
                }
                None if running || waiting => {
                    drop(line.take());
                    line = self.0.lines.turn(refusal.key, until).await;
                    false
                }
                Some(_) | None if refusal.microseconds > 0 => {
                    request.remember(&self.0, Why::Budget(refusal));
                    true
                }
                Some(_) | None => false,
            };
            if is_over {
                return Ok(Err(self.refused(&refusal)));
            }
        }
        let refusal = self.refusal(&keys, now).await?;
        Ok(Err(self.refused(&refusal)))
    }

    /// Charges a wrong secret of a client to the network. `Some`: its budget is used up.
    pub async fn charge_network(
        &self,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Option<Throttled>, StoreError> {
        if self.0.network.is_none() {
            return Ok(None);
        }
        let key = self.0.keys.network(address);
        // As a device: this one budget alone.
        let keys = Keys { account: key, pair: key, network: key, device: Some(key) };
        if !self.insert(&keys, None, now).await?.is_empty() {
            return Ok(None);
        }
        let refusal = self.refusal(&keys, now).await?;
        Ok(Some(self.refused(&refusal)))
    }

    /// Clears the budgets of a user: of the account, its networks and its devices.
    pub async fn unlock(&self, conn: &mut Conn, user: UserId) -> Result<(), StoreError> {
        conn::execute!(conn, sql::UNLOCK, user)?;
        Ok(())
    }

    /// Forgets the refusals of the last second, after a user was unlocked.
    pub fn forget_refusals(&self) {
        self.0.recent.clear();
    }

    /// Returns whether a refusal is the first of a series by its budget, on this server.
    #[must_use]
    pub fn is_first(&self, throttled: &Throttled, now: DateTime<Utc>) -> bool {
        self.0.series.is_first(&throttled.key, now)
    }

    /// Takes back that a refusal was the first: it could not be recorded.
    pub fn forget_first(&self, throttled: &Throttled) {
        self.0.series.forget(&throttled.key);
    }

    /// Issues a device token to a user who logged in, for this device or a new one.
    pub fn device_token(
        &self,
        user: UserId,
        device: Option<Device>,
        now: DateTime<Utc>,
    ) -> Result<String, NoRandomness> {
        let device = device.map_or_else(Device::new, Ok)?;
        Ok(self.0.devices.issue(user, &device, now))
    }

    /// Returns the database for the statements of attempts that were not hashed yet.
    #[must_use]
    pub fn half(&self) -> &Store {
        &self.0.half
    }

    /// Returns the refused attempts of this server.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// Reserves an attempt, unless a budget refuses it.
    async fn try_reserve(&self, request: &Request) -> Result<Option<Reservation>, StoreError> {
        let (throttle, request) = (self.clone(), request.clone());
        // In a task of its own: if the caller leaves during the statement, the reservation is dropped, and so given back.
        let work = async move {
            let charge = throttle.charge(&request).await?;
            Ok(charge.map(|charge| Reservation::new(throttle, request, Some(charge))))
        };
        tokio::spawn(work.with_current_context())
            .await
            .unwrap_or_else(|error| Err(StoreError::Other(sqlx::Error::Protocol(error.to_string()))))
    }

    async fn charge(&self, request: &Request) -> Result<Option<Charge>, StoreError> {
        let Request { keys, user, now, .. } = request;
        let charged = self.insert(keys, *user, *now).await?;
        let has = |key: &Key| charged.iter().any(|(budget,)| budget.as_slice() == key);
        if let Some(device) = keys.device.filter(has) {
            return Ok(Some(Charge::Device(device)));
        }
        if has(&keys.pair) {
            return Ok(Some(Charge::Pair));
        }
        match (has(&keys.account), has(&keys.network)) {
            (true, true) => Ok(Some(Charge::Stranger)),
            (false, false) => Ok(None),
            // Another server used the other one up at this moment.
            (account, _) => {
                self.give_back(if account { keys.account } else { keys.network }, None, *now).await?;
                Ok(None)
            }
        }
    }

    async fn insert(
        &self,
        keys: &Keys,
        user: Option<UserId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(Vec<u8>,)>, StoreError> {
        let (login, network) = (limits(self.0.login), limits(self.0.network));
        retried(async || {
            let mut conn = self.0.half.write().await?;
            conn::all!(
                conn,
                (Vec<u8>,),
                sql::RESERVE,
                &keys.trusted()[..],
                &keys.account[..],
                &keys.network[..],
                user,
                now.timestamp_micros(),
                keys.device.is_some(),
                (now - KNOWN).timestamp_micros(),
                login.0,
                login.1,
                network.0,
                network.1
            )
        })
        .await
    }

    async fn give_back(&self, first: Key, second: Option<Key>, reserved_at: DateTime<Utc>) -> Result<(), StoreError> {
        let at = reserved_at.timestamp_micros();
        retried(async || {
            let mut conn = self.0.half.write().await?;
            conn::execute!(conn, sql::GIVE_BACK, &first[..], second.as_ref().map(|key| &key[..]), at)
        })
        .await?;
        Ok(())
    }

    /// Deletes budgets that allow everything again, `batch` rows at most of each kind, and returns how many.
    ///
    /// So the table has a row for each account and network with a wrong password within a window, whose number is bounded by
    /// the hash threads, for what was given back since the last sweep, and for each network from which users log in.
    pub async fn sweep(&self, store: &Store, now: DateTime<Utc>, batch: i64) -> Result<u64, StoreError> {
        let windows = [self.0.login, self.0.network].into_iter().flatten().map(|quota| quota.window);
        let kept = windows.fold(Duration::from_secs(sql::MAX_WAIT), Duration::max);
        let old = (now - kept).timestamp_micros();
        let deleted = conn::execute!(store.write().await?, sql::DELETE_OLD, old, batch)?;
        let unknown = (now - KNOWN).timestamp_micros();
        let forgotten = conn::execute!(store.write().await?, sql::DELETE_UNKNOWN, unknown, batch)?;
        Ok(deleted.max(forgotten))
    }
}

/// Returns the number of free failures and the window in microseconds.
fn limits(quota: Option<Quota>) -> (i64, i64) {
    quota.map_or((NEVER, 0), |quota| {
        (i64::from(quota.count), i64::try_from(quota.window.as_micros()).unwrap_or(i64::MAX))
    })
}
