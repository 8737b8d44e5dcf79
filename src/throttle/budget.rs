//! Budgets of failures, and the keys under which they are counted.

use std::net::IpAddr;

use aws_lc_rs::hmac;

use super::device::Device;
use crate::{ids::UserId, limits::Network, validation::named_enum};

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

/// Whose password is presented.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// A user.
    User(UserId),
    /// A name that does not exist.
    Unknown(&'a str),
}

impl Account<'_> {
    pub(super) fn user(&self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(*id),
            Self::Unknown(_) => None,
        }
    }
}

/// Makes the keys of budgets.
pub(super) struct KeyMaker(hmac::Key);

impl KeyMaker {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the keys of an attempt. `crowded`: accounts and networks share budgets, so that an attack with very many
    /// names or addresses does not make the table grow.
    pub(super) fn keys(
        &self,
        account: Account<'_>,
        address: Option<IpAddr>,
        device: Option<&Device>,
        crowded: bool,
    ) -> Keys {
        let of_account = self.account(account, crowded);
        // Also of a shared account: a known pair is that of one user.
        let own = self.account(account, false);
        let network = network(address);
        Keys {
            account: of_account,
            pair: self.mac(b"pair", &[&own, &network[..]]),
            network: self.network(address, crowded),
            device: device.map(|device| self.mac(b"device", &[&own, &device.nonce])),
        }
    }

    /// Existing and other names alike: a difference would tell which exist.
    pub(super) fn account(&self, account: Account<'_>, crowded: bool) -> Key {
        let key = match account {
            Account::User(id) => self.mac(b"user", &[id.as_bytes()]),
            Account::Unknown(name) => self.mac(b"name", &[name.to_ascii_lowercase().as_bytes()]),
        };
        if crowded { shared(key, b'a') } else { key }
    }

    pub(super) fn network(&self, address: Option<IpAddr>, crowded: bool) -> Key {
        let key = self.mac(b"network", &[&network(address)]);
        if crowded { shared(key, b'n') } else { key }
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

/// Returns one of 65,536 keys of a kind.
fn shared(key: Key, kind: u8) -> Key {
    let mut shared = Key::default();
    shared[0] = kind;
    shared[1..3].copy_from_slice(&key[..2]);
    shared
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

    fn keys(account: Account<'_>, address: &str, crowded: bool) -> Keys {
        KeyMaker::new(&[7; 32]).keys(account, address.parse().ok(), None, crowded)
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_64() {
        let network = |address| keys(Account::Unknown("maria"), address, false).network;
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    #[test]
    fn keys_differ_by_kind_and_account() {
        let user = Account::User([1; 16].into());
        let of = keys(user, "192.0.2.1", false);
        assert_ne!(of.account, of.pair);
        assert_ne!(of.account, keys(Account::User([2; 16].into()), "192.0.2.1", false).account);
        assert_ne!(of.pair, keys(user, "192.0.2.2", false).pair);
        assert_eq!(of.account, keys(user, "192.0.2.2", false).account);
        let name = |name| keys(Account::Unknown(name), "192.0.2.1", false).account;
        assert_eq!(name("Maria"), name("mARIA"));
        assert_ne!(name("maria"), name("otto"));
    }

    #[test]
    fn in_a_crowded_table_accounts_and_networks_share_budgets() {
        let user = Account::User([1; 16].into());
        let (own, shared) = (keys(user, "192.0.2.1", false), keys(user, "192.0.2.1", true));
        assert_eq!(own.pair, shared.pair);
        assert_ne!(own.account, shared.account);
        assert_eq!(shared.account[3..], [0; 13]);
        assert_ne!(shared.account[0], shared.network[0]);
    }
}
