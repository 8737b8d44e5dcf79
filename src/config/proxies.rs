//! Proxies that are trusted to report the client's address, and the header in which they do.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;

use super::check::Check;

#[derive(Args, Clone)]
#[command(next_help_heading = "Network")]
pub(super) struct ProxySettings {
    /// Networks of the reverse proxies that are trusted to report the client's address
    #[arg(long, env = "GRANTD_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Header in which the proxies report the client's address
    ///
    /// `x-forwarded-for` or `forwarded` (RFC 7239).
    #[arg(long, env = "GRANTD_PROXY_HEADER", value_name = "HEADER", default_value = "x-forwarded-for")]
    proxy_header: String,
}

/// Trusted proxies and their header.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Their networks.
    pub trusted: Vec<IpNet>,
    /// The one header of theirs that is read.
    pub header: ProxyHeader,
}

impl ProxyConfig {
    /// Returns whether an address is that of a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// A header in which proxies report a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: addresses, separated by commas.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// Returns its name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| "allowed are networks such as 10.0.0.0/8 and addresses, separated by commas")?;
    // 10.0.0.1/8 is more than the one address that was probably meant.
    if network.addr() != network.network() {
        return Err(format!(
            "the address has bits after the prefix; allowed is {} or {}",
            network.trunc(),
            network.addr()
        ));
    }
    Ok(network)
}

fn header(text: &str) -> Result<ProxyHeader, String> {
    [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded]
        .into_iter()
        .find(|header| text.eq_ignore_ascii_case(header.as_str()))
        .ok_or_else(|| "allowed is x-forwarded-for or forwarded".to_owned())
}

impl ProxySettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<ProxyConfig> {
        let trusted = check.list("GRANTD_TRUSTED_PROXIES", &self.trusted_proxies, network);
        let header = check.value("GRANTD_PROXY_HEADER", &self.proxy_header, header)?;
        Some(ProxyConfig { trusted, header })
    }
}
