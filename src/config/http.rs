//! The addresses that the server listens on, its public URL, and the browsers that may call it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::Args;

use super::{
    check::{Check, parse},
    proxies::ProxyConfig,
    timeouts::Timeouts,
    tls::TlsConfig,
};

#[derive(Args, Clone)]
#[command(next_help_heading = "Network")]
pub(super) struct HttpSettings {
    /// Address to listen on, as ADDRESS:PORT or :PORT (loopback)
    ///
    /// May be repeated; in a variable, addresses are separated by commas. Port 0 picks a free port.
    #[arg(
        long,
        env = "GRANTD_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080"
    )]
    listen: Vec<String>,
    /// Public URL: `iss` of all tokens, and the base of the URLs in the metadata
    ///
    /// Required unless every address is loopback; then the default is the first address, with `https://` if `GRANTD_TLS_CERT` is
    /// set and else `http://`.
    #[arg(long, env = "GRANTD_ISSUER", value_name = "URL")]
    issuer: Option<String>,
    /// Origins of single-page applications that may call from a browser
    #[arg(long, env = "GRANTD_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// How long requests under way may take after SIGTERM
    ///
    /// After that they are cut off, and the exit code is 1.
    #[arg(long, env = "GRANTD_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    shutdown_timeout: String,
    /// Allow a public address without TLS and without a trusted proxy
    #[arg(long, env = "GRANTD_ALLOW_INSECURE", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_insecure: String,
}

/// Addresses, public URL and CORS.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// All addresses. Once the server listens, each has its real port in the place of 0.
    pub listen: Vec<SocketAddr>,
    /// The public URL, without a slash at its end. `None`: that of the first address, known once it is bound.
    pub issuer: Option<String>,
    /// Origins that may call from a browser.
    pub cors_origins: Vec<String>,
    /// Whether a public address without TLS and without a trusted proxy is accepted.
    pub allow_insecure: bool,
    /// Threads that answer requests: one per core.
    pub workers: usize,
    /// How long a caller may take.
    pub timeouts: Timeouts,
    /// How long requests under way may take once the server stops.
    pub shutdown_timeout: Duration,
}

/// Parses `ADDRESS:PORT`. `localhost:PORT` and `:PORT` are the loopback address: a public one must be named.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let loopback = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':'));
    let parsed = match loopback.map(str::parse::<u16>) {
        Some(port) => port.ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    let allowed = "allowed is ADDRESS:PORT, such as 127.0.0.1:8080, localhost:8080, :8080 (loopback) or 0.0.0.0:8080";
    parsed.ok_or_else(|| match text.parse::<u16>() {
        Ok(port) => format!("write :{port} for a port of the loopback address; {allowed}"),
        Err(_) => allowed.to_owned(),
    })
}

fn issuer(text: &str) -> Result<String, String> {
    let allowed = "allowed is an http or https URL without query and fragment";
    let url = text.trim_end_matches('/');
    let uri: actix_web::http::Uri = url.parse().map_err(|_| allowed.to_owned())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    let plain = uri.query().is_none() && !text.contains(['#', '@']);
    if web && plain { Ok(url.to_owned()) } else { Err(allowed.to_owned()) }
}

fn origin(text: &str) -> Result<String, String> {
    let allowed = "allowed is an origin such as https://app.example.com, without a path";
    let uri: actix_web::http::Uri = text.parse().map_err(|_| allowed.to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if text == format!("{scheme}://{authority}") => {
            Ok(text.to_owned())
        }
        _ => Err(allowed.to_owned()),
    }
}

impl HttpSettings {
    pub(super) fn remove_issuer(&mut self) {
        self.issuer = None;
    }

    pub(super) fn listen_on(&mut self, addresses: &[SocketAddr]) {
        self.listen = addresses.iter().map(SocketAddr::to_string).collect();
    }

    /// Accepts a public address without TLS: an audit reports it by itself.
    pub(super) fn accept_risk(&mut self) {
        if parse::boolean(&self.allow_insecure) == Ok(false) {
            "true".clone_into(&mut self.allow_insecure);
        }
    }

    /// `tls` and `proxies` are `None` if they are wrong: whether they would protect a public address is then unknown.
    pub(super) fn check(
        &self,
        check: &mut Check,
        tls: Option<&TlsConfig>,
        proxies: Option<&ProxyConfig>,
    ) -> Option<HttpConfig> {
        let listen = check.list("GRANTD_LISTEN", &self.listen, address);
        let cors_origins = check.list("GRANTD_CORS_ORIGINS", &self.cors_origins, origin);
        let issuer = check.optional("GRANTD_ISSUER", self.issuer.as_ref(), issuer);
        let shutdown_timeout = check.value("GRANTD_SHUTDOWN_TIMEOUT", &self.shutdown_timeout, parse::duration);
        let insecure = check.value("GRANTD_ALLOW_INSECURE", &self.allow_insecure, parse::boolean);
        if self.listen.iter().all(|text| text.trim().is_empty()) {
            check.problem("GRANTD_LISTEN", "at least one address is needed");
        }
        if let Some(public) = listen.iter().find(|address| !address.ip().is_loopback()) {
            if issuer == Some(None) {
                check.problem("GRANTD_ISSUER", format!("required: {public} is not a loopback address"));
            }
            let plain = tls.is_some_and(|tls| tls.files.is_none());
            let direct = proxies.is_some_and(|proxies| proxies.trusted.is_empty());
            if plain && direct && insecure == Some(false) {
                check.problem(
                    "GRANTD_LISTEN",
                    format!(
                        "{public} is public, and passwords would be sent unencrypted: set GRANTD_TLS_CERT and \
                         GRANTD_TLS_KEY, or GRANTD_TRUSTED_PROXIES where a proxy terminates TLS; \
                         GRANTD_ALLOW_INSECURE=true accepts the risk"
                    ),
                );
            }
        }
        // More are refused by actix.
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(512);
        let (issuer, allow_insecure, timeouts) = (issuer?, insecure?, Timeouts::default());
        let shutdown_timeout = shutdown_timeout?;
        Some(HttpConfig { listen, issuer, cors_origins, allow_insecure, workers, timeouts, shutdown_timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_port_or_localhost_is_the_loopback_address() {
        for (text, expected) in [
            ("localhost:8081", "127.0.0.1:8081"),
            (":8081", "127.0.0.1:8081"),
            ("[::1]:8081", "[::1]:8081"),
            ("0.0.0.0:8081", "0.0.0.0:8081"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for text in ["localhost", ":", "localhost:http", ":65536", "127.0.0.1", "example.com:80"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(address("8080").unwrap_err().starts_with("write :8080 for a port"));
        for text in ["", "65536", "80a"] {
            assert!(address(text).unwrap_err().starts_with("allowed is"), "{text}");
        }
    }
}
