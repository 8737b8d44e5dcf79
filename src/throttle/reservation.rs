//! A reserved attempt, and what becomes of it.

use chrono::{DateTime, Utc};

use super::{
    Request, Throttle,
    budget::{Key, Keys},
    device::Device,
    recent::Why,
    sql,
};
use crate::store::{StoreError, conn, retried};

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
    request: Request,
    /// `None`: not charged, or settled.
    charge: Option<Charge>,
    is_known: bool,
}

impl Reservation {
    pub(super) fn new(throttle: Throttle, request: Request, charge: Option<Charge>) -> Self {
        for key in charge.iter().flat_map(|charge| charge.keys(&request.keys)) {
            throttle.0.lines.enter(key);
        }
        Self { throttle, request, charge, is_known: charge != Some(Charge::Stranger) }
    }

    /// Returns whether the attempt comes from a network or device that the account knows.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The password was wrong: the attempt stays charged.
    pub fn fail(mut self) {
        if let Some(charge) = self.charge.take() {
            self.leave(charge);
        }
    }

    /// The password was right: gives the attempt back, clears the budget of the device or network that is known, and knows
    /// the network from now on. A failure is logged only, since the password is right.
    pub async fn succeed(mut self) {
        let Some(charge) = self.charge.take() else { return };
        if let Err(error) = self.write_success(charge).await {
            tracing::warn!(%error, "an attempt to log in that succeeded stays charged");
        }
        self.throttle.0.recent.remove((self.request.keys.account, self.request.keys.network, None));
        self.leave(charge);
    }

    /// The password was not verified, or is right and the user disabled: gives the attempt back.
    pub async fn give_back(mut self) {
        if let Some(charge) = self.charge.take() {
            give_back(self.throttle.clone(), charge.keys(&self.request.keys), self.request.now).await;
        }
    }

    /// The hash queue was full: gives the attempt back, and remembers that of a stranger.
    pub async fn crowd_out(self) {
        if !self.is_known {
            self.request.remember(&self.throttle.0, Why::Queue);
        }
        self.give_back().await;
    }

    async fn write_success(&self, charge: Charge) -> Result<(), StoreError> {
        let Request { keys: Keys { account, pair, network, .. }, user, now, .. } = &self.request;
        let (account, network, device) = match &charge {
            Charge::Stranger => (Some(&account[..]), Some(&network[..]), None),
            Charge::Pair => (None, None, None),
            Charge::Device(key) => (None, None, Some(&key[..])),
        };
        let at = now.timestamp_micros();
        retried(async || {
            let mut conn = self.throttle.0.store.write().await?;
            conn::execute!(conn, sql::SUCCEED, &pair[..], account, network, *user, at, at, device)
        })
        .await?;
        Ok(())
    }

    /// Returns the device of a valid device token.
    #[must_use]
    pub fn device(&self) -> Option<Device> {
        self.request.device.clone()
    }

    fn leave(&self, charge: Charge) {
        for key in charge.keys(&self.request.keys) {
            self.throttle.0.lines.leave(key);
        }
    }
}

/// The caller left while the attempt was prepared.
impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(charge) = self.charge.take() else { return };
        let given_back = give_back(self.throttle.clone(), charge.keys(&self.request.keys), self.request.now);
        // Without a runtime, the process ends, and the attempt stays charged.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(given_back);
        }
    }
}

async fn give_back(throttle: Throttle, keys: Vec<Key>, at: DateTime<Utc>) {
    if let Err(error) = throttle.give_back(keys[0], keys.get(1).copied(), at).await {
        tracing::warn!(%error, "an attempt to log in that was not made stays charged");
    }
    for key in keys {
        throttle.0.lines.leave(key);
    }
}
