//! Limits of each network: requests, registrations and simultaneous connections.
//!
//! They are in memory, and so of this server alone: of several replicas, each allows the whole of a limit. Their tables have a
//! fixed size, whatever is sent. Wrong passwords are counted in the database.

mod connections;
mod network;
mod quota;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use ipnet::IpNet;

pub use self::{
    connections::{Connection, Connections},
    network::Network,
    quota::{Allowance, NetworkQuota},
};
use crate::config::{Config, ProxyConfig, Quota};

/// Registrations of a network. Each of them makes the server hash a password and write a row, for a caller without credentials;
/// ten are enough for the people behind one address.
const REGISTRATIONS: Quota = Quota { count: 10, window: Duration::from_hours(1) };

/// The limits of a server, shared by its workers.
#[derive(Debug)]
pub struct Limits {
    /// `None`: requests are not limited.
    requests: Option<NetworkQuota>,
    registrations: NetworkQuota,
    connections: Arc<Connections>,
    exempt: Vec<IpNet>,
    proxies: ProxyConfig,
    /// What was refused.
    pub refused: Refused,
}

/// Numbers of what was refused since the start, by limit.
#[derive(Debug, Default)]
pub struct Refused {
    /// Requests.
    pub requests: AtomicU64,
    /// Registrations.
    pub registrations: AtomicU64,
    /// Connections.
    pub connections: AtomicU64,
}

/// The network has too many connections.
#[derive(Debug)]
pub struct TooManyConnections;

impl Limits {
    /// Returns limits of which nothing is used.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            requests: config.throttle.rate_limit.map(NetworkQuota::new),
            registrations: NetworkQuota::new(REGISTRATIONS),
            connections: Arc::new(Connections::new(config.throttle.connections)),
            exempt: config.throttle.rate_limit_exempt.clone(),
            proxies: config.proxies.clone(),
            refused: Refused::default(),
        }
    }

    /// Returns the quota of requests; `None`: they are not limited.
    #[must_use]
    pub fn requests(&self) -> Option<Quota> {
        self.requests.as_ref().map(NetworkQuota::quota)
    }

    /// Returns the quota of registrations.
    #[must_use]
    pub fn registrations(&self) -> Quota {
        self.registrations.quota()
    }

    /// Counts a request from an address; `None`: it is not limited.
    pub(crate) fn count_request(&self, address: IpAddr, now: DateTime<Utc>) -> Option<Allowance> {
        let quota = self.requests.as_ref().filter(|_| !self.exempts(address))?;
        let allowance = quota.take(address.into(), now);
        count_refused(&self.refused.requests, allowance.admitted);
        Some(allowance)
    }

    /// Counts a registration from an address. No network is exempt.
    pub(crate) fn count_registration(&self, address: IpAddr, now: DateTime<Utc>) -> Allowance {
        let allowance = self.registrations.take(address.into(), now);
        count_refused(&self.refused.registrations, allowance.admitted);
        allowance
    }

    /// Counts a connection from an address, until the result is dropped; `None`: it is not limited. A trusted proxy has the
    /// connections of many callers.
    pub(crate) fn count_connection(&self, peer: IpAddr) -> Result<Option<Connection>, TooManyConnections> {
        let peer = peer.to_canonical();
        if self.exempts(peer) || self.proxies.trusts(peer) {
            return Ok(None);
        }
        let connection = self.connections.open(peer.into());
        count_refused(&self.refused.connections, connection.is_some());
        connection.map(Some).ok_or(TooManyConnections)
    }

    fn exempts(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(&address))
    }
}

fn count_refused(counter: &AtomicU64, admitted: bool) {
    if !admitted {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
