//! Where metrics and traces go.

use std::net::SocketAddr;

use clap::Args;

use super::{check::Check, http::address};

#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Metrics and traces")]
pub(super) struct TelemetrySettings {
    /// Address that serves `/metrics` over plain HTTP, without credentials
    ///
    /// As ADDRESS:PORT or :PORT (loopback). When not set, `/metrics` is on the main address, for the scope `audit:read`.
    #[arg(long, env = "GRANTD_METRICS_ADDRESS", value_name = "ADDRESS")]
    metrics_address: Option<String>,
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP); enables traces
    ///
    /// `/v1/traces` is appended.
    #[arg(long, env = "GRANTD_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// Where metrics and traces go.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The address of the metrics. Once the server listens, it has the real port in the place of 0. `None`: the main addresses.
    pub metrics_address: Option<SocketAddr>,
    /// The base URL of the collector, without a slash at its end. `None`: there are no traces.
    pub otlp_endpoint: Option<String>,
}

fn endpoint(text: &str) -> Result<String, String> {
    let allowed =
        "allowed is an http or https URL such as http://127.0.0.1:4318, without a name, a password and a query";
    let url = text.trim_end_matches('/');
    let uri: actix_web::http::Uri = url.parse().map_err(|_| allowed.to_owned())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    // Credentials would be in the output of `grantd config`.
    let plain = uri.query().is_none() && !text.contains(['#', '@']);
    if web && plain { Ok(url.to_owned()) } else { Err(allowed.to_owned()) }
}

impl TelemetrySettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<TelemetryConfig> {
        let metrics_address = check.optional("GRANTD_METRICS_ADDRESS", self.metrics_address.as_ref(), address);
        let otlp_endpoint = check.optional("GRANTD_OTLP_ENDPOINT", self.otlp_endpoint.as_ref(), endpoint);
        Some(TelemetryConfig { metrics_address: metrics_address?, otlp_endpoint: otlp_endpoint? })
    }
}
