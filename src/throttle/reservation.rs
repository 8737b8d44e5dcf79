//! A reserved attempt, and what becomes of it.

use chrono::{DateTime, Utc};

use super::{
    Throttle,
    budget::{Key, Keys},
    device::Device,
    sql,
};
use crate::{
    ids::UserId,
    store::{StoreError, conn},
};

/// What a reserved attempt is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    Device(Key),
    Pair,
    /// The account and the network.
    Stranger,
}

impl Charge {
    pub(super) fn keys(self, keys: &Keys) -> Vec<Key> {
        match self {
            Self::Device(key) => vec![key],
            Self::Pair => vec![keys.pair],
            Self::Stranger => vec![keys.account, keys.network],
        }
    }
}

/// A reserved attempt. Dropped without a result, it is given back.
#[must_use]
pub struct Reservation {
    throttle: Throttle,
    keys: Keys,
    user: Option<UserId>,
    device: Option<Device>,
    /// `None`: not charged, or settled.
    charge: Option<Charge>,
    is_known: bool,
    at: DateTime<Utc>,
}

impl Reservation {
    pub(super) fn new(
        throttle: Throttle,
        keys: Keys,
        user: Option<UserId>,
        device: Option<Device>,
        charge: Option<Charge>,
        at: DateTime<Utc>,
    ) -> Self {
        let is_known = charge.is_none_or(|charge| charge != Charge::Stranger);
        Self { throttle, keys, user, device, charge, is_known, at }
    }

    /// Returns whether the attempt comes from a network or device that the account knows.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The password was wrong: the attempt stays charged.
    pub fn fail(mut self) {
        if let Some(charge) = self.charge.take() {
            self.leave(charge, false);
        }
    }

    /// The password was right: gives the attempt back, clears the budget of the device or network that is known, and knows
    /// the network from now on. A failure is logged only, since the password is right.
    pub async fn succeed(mut self) {
        let Some(charge) = self.charge.take() else { return };
        if let Err(error) = self.write_success(charge).await {
            tracing::warn!(%error, "an attempt to log in that succeeded stays charged");
        }
        self.leave(charge, true);
    }

    /// The password was not verified, or is right and the user disabled: gives the attempt back.
    pub async fn give_back(mut self) {
        if let Some(charge) = self.charge.take() {
            give_back(self.throttle.clone(), charge.keys(&self.keys), self.at).await;
        }
    }

    async fn write_success(&self, charge: Charge) -> Result<(), StoreError> {
        let Keys { account, pair, network, .. } = &self.keys;
        let (account, network, device) = match &charge {
            Charge::Stranger => (Some(&account[..]), Some(&network[..]), None),
            Charge::Pair => (None, None, None),
            Charge::Device(key) => (None, None, Some(&key[..])),
        };
        let at = self.at.timestamp_micros();
        let mut conn = self.throttle.0.store.write().await?;
        conn::execute!(conn, sql::SUCCEED, &pair[..], account, network, self.user, at, at, device)?;
        Ok(())
    }

    /// Returns the device of a valid device token.
    #[must_use]
    pub fn device(&self) -> Option<Device> {
        self.device.clone()
    }

    fn leave(&self, charge: Charge, is_free: bool) {
        for key in charge.keys(&self.keys) {
            self.throttle.0.lines.leave(key, is_free);
        }
    }
}

/// The caller left while the attempt was prepared.
impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(charge) = self.charge.take() else { return };
        let given_back = give_back(self.throttle.clone(), charge.keys(&self.keys), self.at);
        // Without a runtime, the process ends, and the attempt stays charged.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(given_back);
        }
    }
}

async fn give_back(throttle: Throttle, keys: Vec<Key>, at: DateTime<Utc>) {
    if let Err(error) = throttle.give_back([keys[0], keys[keys.len() - 1]], at).await {
        tracing::warn!(%error, "an attempt to log in that was not made stays charged");
    }
    for key in keys {
        throttle.0.lines.leave(key, true);
    }
}
