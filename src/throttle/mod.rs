//! Protection against password guessing: budgets of failures, shared by all servers. An attempt is reserved in the database
//! before the password is hashed, so that neither a restart nor a thousand requests at once get more guesses.
//!
//! A stranger can use up the budget of an account from networks and devices that it does not know, and no other: users who
//! logged in before from where they are have a budget of their own.

mod budget;
mod device;
mod lines;
mod reservation;
pub(crate) mod sql;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, timeout_at};

pub use self::{
    budget::{Account, Budget},
    device::Device,
    reservation::Reservation,
};
use self::{
    budget::{Key, KeyMaker, Keys},
    device::DeviceTokens,
    lines::Lines,
    reservation::Charge,
    sql::BudgetRow,
};
use crate::{
    config::{Quota, ThrottleConfig},
    error::Error,
    ids::UserId,
    secret::NoRandomness,
    series::Series,
    store::{Conn, Store, StoreError, conn},
};

/// How long a network is known after a login.
const KNOWN: TimeDelta = TimeDelta::days(90);
/// How often an attempt is tried again because others ended during its statements.
const MISSES: usize = 8;
/// The length of a series of refusals, of which the first is recorded.
const SERIES: TimeDelta = TimeDelta::hours(1);
/// Budgets in the table, without known networks, from which on accounts and networks share budgets.
const CROWDED: i64 = 200_000;
/// A number of failures that is never reached, for a budget that is off; a difference of it fits into 32 bits.
const NEVER: i64 = 2_000_000_000;

/// An attempt to present a password.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Whose password.
    pub account: Account<'a>,
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
    /// Whether this is the first refusal of a series by this budget, on this server.
    pub is_first: bool,
}

/// The budget that refuses an attempt, and the seconds until the next one.
struct Refusal {
    budget: Budget,
    key: Key,
    retry_after: u64,
}

/// Refused attempts of this server, for metrics.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; 4]);

impl Refusals {
    fn add(&self, budget: Budget) {
        self.0[budget as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of refused attempts of a budget.
    #[must_use]
    pub fn of(&self, budget: Budget) -> u64 {
        self.0[budget as usize].load(Ordering::Relaxed)
    }
}

/// The budgets of all accounts, devices and networks. Clones share them.
#[derive(Clone)]
pub struct Throttle(Arc<Inner>);

struct Inner {
    store: Store,
    login: Option<Quota>,
    network: Option<Quota>,
    /// The longest wait for other attempts.
    wait: Duration,
    keys: KeyMaker,
    devices: DeviceTokens,
    lines: Lines,
    crowded: AtomicBool,
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
            login: config.login_failures,
            network: config.network_failures,
            wait,
            keys: KeyMaker::new(key),
            devices: DeviceTokens::new(device_key),
            lines: Lines::default(),
            crowded: AtomicBool::new(false),
            series: Series::of(SERIES),
            refusals: Refusals::default(),
        }))
    }

    /// Reserves an attempt. It counts as a failure until its result is known.
    ///
    /// Waits for attempts of this server on the same budget if it is used up by them.
    pub async fn reserve(
        &self,
        attempt: Attempt<'_>,
        now: DateTime<Utc>,
    ) -> Result<Result<Reservation, Throttled>, Error> {
        let user = attempt.account.user();
        let device = user
            .zip(attempt.device_token)
            .and_then(|(user, token)| self.0.devices.verify(token, user, attempt.devices_since, now));
        let keys = self.0.keys.keys(attempt.account, attempt.address, device.as_ref(), self.is_crowded());
        if self.0.login.is_none() && self.0.network.is_none() {
            return Ok(Ok(self.reservation(keys, user, device, None, now)));
        }
        let until = Instant::now() + self.0.wait;
        let own = [keys.device.unwrap_or(keys.pair), keys.account];
        let queued = own.into_iter().find(|key| self.0.lines.has_queue(*key));
        let mut line = queued.and_then(|key| self.0.lines.wait(key));
        let mut missed = 0;
        loop {
            let is_last = match line.take() {
                Some(waiting) => timeout_at(until, waiting.end()).await.is_err(),
                None => false,
            };
            let freed = self.0.lines.freed();
            if let Some(charge) = self.try_reserve(&keys, user, now).await? {
                return Ok(Ok(self.reservation(keys, user, device, Some(charge), now)));
            }
            let refusal = self.refusal(&keys, now).await?;
            line = if is_last { None } else { self.0.lines.wait(refusal.key) };
            if line.is_none() && missed < MISSES && self.0.lines.freed() != freed {
                missed += 1;
            } else if line.is_none() {
                return Ok(Err(self.refused(&refusal, now)));
            }
        }
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
        let key = self.0.keys.network(address, self.is_crowded());
        // As a device: this one budget alone.
        let keys = Keys { account: key, pair: key, network: key, device: Some(key) };
        if !self.insert(&keys, None, now).await?.is_empty() {
            return Ok(None);
        }
        let refusal = self.refusal(&keys, now).await?;
        Ok(Some(self.refused(&refusal, now)))
    }

    /// Clears the budgets of a user: of the account, its networks and its devices.
    pub async fn unlock(&self, conn: &mut Conn, user: UserId) -> Result<(), StoreError> {
        let account = self.0.keys.account(Account::User(user), self.is_crowded());
        conn::execute!(conn, sql::UNLOCK, user, &account[..])?;
        Ok(())
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

    /// Returns the refused attempts of this server.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    fn reservation(
        &self,
        keys: Keys,
        user: Option<UserId>,
        device: Option<Device>,
        charge: Option<Charge>,
        now: DateTime<Utc>,
    ) -> Reservation {
        for key in charge.iter().flat_map(|charge| charge.keys(&keys)) {
            self.0.lines.enter(key);
        }
        Reservation::new(self.clone(), keys, user, device, charge, now)
    }

    async fn try_reserve(
        &self,
        keys: &Keys,
        user: Option<UserId>,
        now: DateTime<Utc>,
    ) -> Result<Option<Charge>, StoreError> {
        let charged = self.insert(keys, user, now).await?;
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
                let key = if account { keys.account } else { keys.network };
                self.give_back([key, key], now).await?;
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
        let mut conn = self.0.store.write().await?;
        conn::all!(
            conn,
            (Vec<u8>,),
            sql::RESERVE,
            &keys.device.unwrap_or(keys.pair)[..],
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
    }

    /// Returns the refusal of an attempt that was not reserved.
    async fn refusal(&self, keys: &Keys, now: DateTime<Utc>) -> Result<Refusal, StoreError> {
        let trusted = keys.device.unwrap_or(keys.pair);
        let mut conn = self.0.store.read().await?;
        let rows = conn::all!(conn, BudgetRow, sql::READ, &trusted[..], &keys.account[..], &keys.network[..])?;
        let known_since = (now - KNOWN).timestamp_micros();
        let is_known = keys.device.is_some()
            || rows.iter().any(|row| row.budget == keys.pair && row.known_at.is_some_and(|at| at > known_since));
        let of_row = |row: &BudgetRow| {
            let key = Key::try_from(row.budget.as_slice()).ok()?;
            let budget = match key {
                _ if key == keys.network => Budget::Network,
                _ if key == keys.account => Budget::Account,
                _ if keys.device.is_some() => Budget::Device,
                _ => Budget::Pair,
            };
            let is_charged = is_known == (key == trusted);
            is_charged.then(|| (self.microseconds_left(budget, row, now), budget, key))
        };
        let longest = rows.iter().filter_map(of_row).max_by_key(|(wait, ..)| *wait);
        // No row: it was deleted since.
        let (wait, budget, key) = longest.unwrap_or((0, Budget::Account, keys.account));
        let seconds = u64::try_from(wait.max(0)).unwrap_or(0).div_ceil(1_000_000);
        Ok(Refusal { budget, key, retry_after: seconds.max(1) })
    }

    /// Counts a refusal.
    fn refused(&self, refusal: &Refusal, now: DateTime<Utc>) -> Throttled {
        let Refusal { budget, key, retry_after } = *refusal;
        self.0.refusals.add(budget);
        let quota = self.0.login.or(self.0.network).unwrap_or(Quota { count: 1, window: Duration::from_secs(1) });
        Throttled { budget, retry_after, quota, is_first: self.0.series.is_first(&key, now) }
    }

    /// Returns the wait until a budget allows an attempt, as the statement computes it.
    fn microseconds_left(&self, budget: Budget, row: &BudgetRow, now: DateTime<Utc>) -> i64 {
        let (quota, longest) = match budget {
            Budget::Network => (self.0.network, sql::MAX_NETWORK_WAIT),
            _ => (self.0.login, sql::MAX_WAIT),
        };
        let (free, window) = limits(quota);
        if row.failures < free {
            return 0;
        }
        let doubled = u32::try_from(row.failures - free).ok().and_then(|times| 1_u64.checked_shl(times));
        let wait = doubled.unwrap_or(longest).min(longest).saturating_mul(1_000_000);
        row.failed_at + window.min(i64::try_from(wait).unwrap_or(i64::MAX)) - now.timestamp_micros()
    }

    async fn give_back(&self, keys: [Key; 2], reserved_at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut conn = self.0.store.write().await?;
        conn::execute!(conn, sql::GIVE_BACK, &keys[0][..], &keys[1][..], reserved_at.timestamp_micros())?;
        Ok(())
    }

    fn is_crowded(&self) -> bool {
        self.0.crowded.load(Ordering::Relaxed)
    }

    /// Deletes budgets that allow everything again, `batch` rows at most of each kind, and returns how many. Notes whether
    /// too many are left.
    pub async fn sweep(&self, store: &Store, now: DateTime<Utc>, batch: i64) -> Result<u64, StoreError> {
        let windows = [self.0.login, self.0.network].into_iter().flatten().map(|quota| quota.window);
        let kept = windows.fold(Duration::from_secs(sql::MAX_WAIT), Duration::max);
        let old = (now - kept).timestamp_micros();
        let deleted = conn::execute!(store.write().await?, sql::DELETE_OLD, old, batch)?;
        let unknown = (now - KNOWN).timestamp_micros();
        let forgotten = conn::execute!(store.write().await?, sql::DELETE_UNKNOWN, unknown, batch)?;
        let count = conn::scalar!(store.read().await?, i64, sql::COUNT, CROWDED)?;
        let crowded = count >= CROWDED;
        if self.0.crowded.swap(crowded, Ordering::Relaxed) != crowded {
            tracing::warn!(
                crowded,
                "the number of throttled accounts and networks has passed a limit; if crowded, they share budgets"
            );
        }
        Ok(deleted.max(forgotten))
    }
}

/// Returns the number of free failures and the window in microseconds.
fn limits(quota: Option<Quota>) -> (i64, i64) {
    quota.map_or((NEVER, 0), |quota| {
        (i64::from(quota.count), i64::try_from(quota.window.as_micros()).unwrap_or(i64::MAX))
    })
}
