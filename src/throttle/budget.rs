//! Budgets of failures, and the keys under which they are counted.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::hmac;

use super::{Attempt, device::Device};
use crate::{limits::Network, validation::named_enum};

named_enum! {
    /// What failures are counted for.
    Budget in "budget" {
        /// An account, or a name that does not exist, from networks and devices that are not known to it.
        Account = "account",
        /// An account and a network from which it logged in before.
        Pair = "pair",
        /// An account and a device from which it logged in before.
        Device = "device",
        /// A network, all accounts and clients together.
        Network = "network",
    }
}

/// Refused attempts of this server, for metrics.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; 4]);

impl Refusals {
    pub(super) fn add(&self, budget: Budget) {
        self.0[budget as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of refused attempts of a budget.
    #[must_use]
    pub fn of(&self, budget: Budget) -> u64 {
        self.0[budget as usize].load(Ordering::Relaxed)
    }
}

/// The key of a budget in the database: a MAC, so that the table tells neither names nor addresses.
pub(super) type Key = [u8; 16];

/// The keys of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) account: Key,
    pub(super) pair: Key,
    pub(super) network: Key,
    pub(super) device: Option<Key>,
}

impl Keys {
    /// Returns the key of the device or, without one, of the pair.
    pub(super) fn trusted(&self) -> Key {
        self.device.unwrap_or(self.pair)
    }

    /// Returns the keys of all budgets that may refuse the attempt.
    pub(super) fn all(&self) -> [Key; 3] {
        [self.trusted(), self.account, self.network]
    }
}

/// Makes the keys of budgets.
pub(super) struct KeyMaker(hmac::Key);

impl KeyMaker {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the keys of an attempt, with the device of a valid token.
    pub(super) fn keys(&self, attempt: &Attempt<'_>, device: Option<&Device>) -> Keys {
        let account = self.account(attempt.name);
        // A user's, whichever name is presented.
        let own = attempt.user.map_or(account, |user| self.mac(b"user", &[user.as_bytes()]));
        Keys {
            account,
            pair: self.mac(b"pair", &[&own, &network(attempt.address)]),
            network: self.network(attempt.address),
            device: device.map(|device| self.mac(b"device", &[&own, &device.nonce])),
        }
    }

    pub(super) fn account(&self, name: &str) -> Key {
        self.mac(b"name", &[name.to_ascii_lowercase().as_bytes()])
    }

    pub(super) fn network(&self, address: Option<IpAddr>) -> Key {
        self.mac(b"network", &[&network(address)])
    }

    fn mac(&self, kind: &[u8], parts: &[&[u8]]) -> Key {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind);
        context.update(&[0]);
        // All but the last part have a fixed length, so that no two lists of parts are the same text.
        for part in parts {
            context.update(part);
        }
        let mut key = Key::default();
        key.copy_from_slice(&context.sign().as_ref()[..16]);
        key
    }
}

/// Returns the bytes of the network of an address.
fn network(address: Option<IpAddr>) -> [u8; 9] {
    let mut bytes = [0; 9];
    match address.map(Network::from) {
        Some(Network::V4(network)) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&network.to_be_bytes());
        }
        Some(Network::V6(network)) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&network.to_be_bytes());
        }
        None => {}
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(user: Option<u8>, name: &str, address: &str) -> Keys {
        let (user, address) = (user.map(|byte| [byte; 16].into()), address.parse().ok());
        let attempt = Attempt { user, name, address, device_token: None, devices_since: None };
        KeyMaker::new(&[7; 32]).keys(&attempt, None)
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_64() {
        let network = |address| keys(None, "maria", address).network;
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    #[test]
    fn a_pair_is_a_users_and_an_account_a_names() {
        let of = keys(Some(1), "maria", "192.0.2.1");
        assert_ne!(of.account, of.pair);
        let by_email = keys(Some(1), "maria@example.com", "192.0.2.1");
        assert_eq!(of.pair, by_email.pair);
        assert_ne!(of.account, by_email.account);
        assert_ne!(of.pair, keys(Some(1), "maria", "192.0.2.2").pair);
        assert_ne!(of.pair, keys(Some(2), "maria", "192.0.2.1").pair);
        // A name that does not exist is like one that does.
        assert_eq!(of.account, keys(None, "mARIA", "192.0.2.2").account);
        assert_ne!(of.account, keys(None, "otto", "192.0.2.1").account);
    }
}
