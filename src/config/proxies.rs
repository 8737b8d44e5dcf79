//! Proxies that are trusted to report a client's address.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;

use super::check::Check;

#[derive(Args, Clone)]
pub(super) struct ProxySettings {
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed
    #[arg(long, env = "GRANTD_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
}

/// Trusted proxies.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Their networks.
    pub trusted: Vec<IpNet>,
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "allowed is a network such as 10.0.0.0/8 or an address".to_owned())
}

impl ProxySettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<ProxyConfig> {
        Some(ProxyConfig { trusted: check.list("GRANTD_TRUSTED_PROXIES", &self.trusted_proxies, network) })
    }
}
