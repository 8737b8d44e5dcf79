//! `grantd health`: asks the server of this machine whether it is ready, as the health check of a container.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, redirect};
use serde::Deserialize;

use super::{
    Outcome,
    output::{Output, harmless},
};
use crate::{config::Config, error::innermost};

/// Longer than a server may take for its answer: `/readyz` waits for the database at most as long as `GRANTD_DATABASE_TIMEOUT`.
const LONGER: Duration = Duration::from_secs(2);
/// The largest body that is read.
const BODY_LIMIT: usize = 64 * 1024;

/// An error response (RFC 9457), as far as it is shown.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

pub(super) async fn health(config: &Config, output: Output) -> Outcome {
    let address = address(config)?;
    let scheme = if config.tls.files.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}/readyz");
    let http = Client::builder()
        .user_agent(concat!("grantd/", env!("CARGO_PKG_VERSION")))
        .timeout(config.database.timeout + LONGER)
        .redirect(redirect::Policy::none())
        .no_proxy()
        // The certificate is for the public name, not for this address. Nothing secret is sent, and only the status is used.
        .tls_danger_accept_invalid_certs(true)
        .build()?;
    let mut response = http.get(&url).send().await.map_err(|error| unreachable(address, &error))?;
    let status = response.status();
    if status.is_success() {
        return output.value("status", "ready");
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok().flatten().filter(|_| body.len() < BODY_LIMIT) {
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(format!("not ready ({}): {}", status.as_u16(), harmless(&problem.detail)).into()),
        Err(_) => Err(format!("not ready: {address} answered {}", status.as_u16()).into()),
    }
}

/// Returns the first address of `GRANTD_LISTEN`. One of all interfaces is called on the loopback interface.
fn address(config: &Config) -> Result<SocketAddr, &'static str> {
    let mut address = *config.http.listen.first().ok_or("GRANTD_LISTEN: there is no address")?;
    if address.port() == 0 {
        return Err("GRANTD_LISTEN: the port is chosen at the start; call `grantd health --listen ADDRESS:PORT`");
    }
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    Ok(address)
}

fn unreachable(address: SocketAddr, error: &reqwest::Error) -> String {
    format!("cannot reach the server at {address}: {}", innermost(error).to_lowercase())
}
