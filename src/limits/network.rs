//! Networks, and their places in the tables.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

/// Places in a table. They are few enough for memory, at most 512 KiB a table, and enough that collisions are rare: while a
/// thousand networks are at a limit, another one shares the place of one of them with a probability of 1.5 %.
pub(super) const PLACES: usize = 1 << 16;

/// What a limit applies to: an IPv4 address or an IPv6 /64, which is what one customer of a provider has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// The address.
    V4(u32),
    /// The first 64 bits of the address.
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [prefix @ .., _, _, _, _, _, _, _, _] = address.octets();
                Self::V6(u64::from_be_bytes(prefix))
            }
        }
    }
}

/// Assigns a place to each network. Networks may share one.
///
/// The hash has a random key: else an attacker with many addresses could choose those that share the place of somebody else.
#[derive(Debug, Default)]
pub(super) struct Places(RandomState);

impl Places {
    /// Returns a number below [`PLACES`].
    pub(super) fn of(&self, network: Network) -> usize {
        let [a, b, ..] = self.0.hash_one(network).to_ne_bytes();
        u16::from_ne_bytes([a, b]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn networks_are_ipv4_addresses_and_ipv6_prefixes() {
        assert_eq!(network("203.0.113.7"), network("::ffff:203.0.113.7"));
        assert_ne!(network("203.0.113.7"), network("203.0.113.8"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("::1"), network("0.0.0.1"));
    }

    #[test]
    fn places_are_spread_and_differ_between_tables() {
        let (one, other) = (Places::default(), Places::default());
        let places = |table: &Places| (0..4096).map(|number| table.of(Network::V4(number))).collect::<Vec<_>>();
        let (ours, theirs) = (places(&one), places(&other));
        assert_eq!(ours, places(&one));
        assert_ne!(ours, theirs);
        assert!(ours.iter().all(|place| *place < PLACES));
        let different: std::collections::BTreeSet<_> = ours.iter().collect();
        // 124 collisions are expected, with a standard deviation of 11.
        assert!(different.len() > 3800, "{}", different.len());
    }
}
