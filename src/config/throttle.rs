//! Protection against password guessing and floods of requests.

use clap::Args;
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};

use super::{
    check::Check,
    proxies::network,
    quota::{Quota, quota},
};

/// Simultaneous connections of a network: twice as many as the requests that it may send in a second, by default. Services and
/// proxies reuse a few connections, and those of people behind a common address are short. Each worker has 25,600 in all, so that
/// one network cannot take them.
const CONNECTIONS: u32 = 1024;
/// One network gets at most this part of the file descriptors that the process may open. Each connection needs one, and so do the
/// database and the log.
const PART_OF_DESCRIPTORS: u64 = 4;

#[derive(Args, Clone)]
#[command(next_help_heading = "Throttling and rate limits")]
pub(super) struct ThrottleSettings {
    /// Failed logins of an account until each attempt has to wait
    ///
    /// As NUMBER/DURATION. Counted apart for each network and device from which the user logged in before, so that guessers
    /// elsewhere do not lock users out. `off` disables it.
    #[arg(long, env = "GRANTD_LOGIN_FAILURES", value_name = "QUOTA", default_value = "10/1h")]
    login_failures: String,
    /// Failed logins of a network until each attempt has to wait
    ///
    /// As NUMBER/DURATION. Also counts wrong client secrets. A network is an IPv4 address or an IPv6 /64. `off` disables it.
    #[arg(long, env = "GRANTD_NETWORK_FAILURES", value_name = "QUOTA", default_value = "100/10m")]
    network_failures: String,
    /// Maximum number of requests from a network
    ///
    /// As NUMBER/DURATION. On all routes except `/healthz` and `/readyz`. `off` disables it.
    #[arg(long, env = "GRANTD_RATE_LIMIT", value_name = "QUOTA", default_value = "500/1s")]
    rate_limit: String,
    /// Networks without a limit on requests and connections
    ///
    /// Replaces the default. `none`: no exceptions.
    #[arg(
        long,
        env = "GRANTD_RATE_LIMIT_EXEMPT",
        value_name = "CIDR",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1"
    )]
    rate_limit_exempt: Vec<String>,
}

/// Quotas of failures and of requests; `None`: off.
#[derive(Clone, Debug)]
pub struct ThrottleConfig {
    /// Failed logins of an account.
    pub login_failures: Option<Quota>,
    /// Failed logins and client authentications of a network.
    pub network_failures: Option<Quota>,
    /// Requests of a network.
    pub rate_limit: Option<Quota>,
    /// Networks that `rate_limit` does not apply to.
    pub rate_limit_exempt: Vec<IpNet>,
    /// Simultaneous connections of a network. Not a setting.
    pub connections: u32,
}

fn network_or_none(text: &str) -> Result<IpNet, String> {
    network(text).map_err(|allowed| format!("{allowed}; or none alone"))
}

/// Returns the number of connections that a network may have.
fn connections() -> u32 {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(descriptors / PART_OF_DESCRIPTORS).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS)
}

impl ThrottleSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<ThrottleConfig> {
        let login_failures = check.value("GRANTD_LOGIN_FAILURES", &self.login_failures, quota);
        let network_failures = check.value("GRANTD_NETWORK_FAILURES", &self.network_failures, quota);
        let rate_limit = check.value("GRANTD_RATE_LIMIT", &self.rate_limit, quota);
        let exempt: Vec<_> = match &self.rate_limit_exempt[..] {
            [none] if none.trim().eq_ignore_ascii_case("none") => Vec::new(),
            networks => check.list("GRANTD_RATE_LIMIT_EXEMPT", networks, network_or_none),
        };
        Some(ThrottleConfig {
            login_failures: login_failures?,
            network_failures: network_failures?,
            rate_limit: rate_limit?,
            rate_limit_exempt: exempt,
            connections: connections(),
        })
    }
}
