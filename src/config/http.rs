//! Where the server listens, and what it tells browsers.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;

use super::check::{Check, parse};

#[derive(Args, Clone)]
pub(super) struct HttpSettings {
    /// Where to listen; may be given several times (in a variable: with commas). Port 0 takes a free one
    #[arg(
        long,
        env = "GRANTD_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080"
    )]
    listen: Vec<String>,
    /// The public URL: `iss` of all tokens, and the base of the URLs in the metadata. Needed where the address is not
    /// loopback; else `http://` and the address
    #[arg(long, env = "GRANTD_ISSUER", value_name = "URL")]
    issuer: Option<String>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed
    #[arg(long, env = "GRANTD_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Origins of single-page applications that may call from a browser
    #[arg(long, env = "GRANTD_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// Whether anybody may make an account for themselves, with the role `member`
    #[arg(long, env = "GRANTD_REGISTRATION", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    registration: String,
    /// The certificate chain, in PEM; with it the server speaks TLS
    #[arg(long, env = "GRANTD_TLS_CERT", value_name = "FILE", value_parser = parse::path)]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM. Nobody else may be able to read the file
    #[arg(long, env = "GRANTD_TLS_KEY", value_name = "FILE", value_parser = parse::path)]
    tls_key: Option<PathBuf>,
    /// Starts although it is insecure: on a public address without TLS and without a trusted proxy
    #[arg(long, env = "GRANTD_ALLOW_INSECURE", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_insecure: String,
}

/// Where the server listens, and what it tells browsers.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// All addresses.
    pub listen: Vec<SocketAddr>,
    /// The public URL, without a slash at its end. `None`: that of the first address, known once it is bound.
    pub issuer: Option<String>,
    /// Whose `Forwarded` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may call from a browser.
    pub cors_origins: Vec<String>,
    /// Whether anybody may make an account for themselves.
    pub registration: bool,
    /// Certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Threads that answer requests: one per core.
    pub workers: usize,
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
    pub(super) fn check(&self, check: &mut Check) -> Option<HttpConfig> {
        let mut each = |setting: &str, texts: &[String], parse: &dyn Fn(&str) -> Result<(), String>| {
            texts.iter().filter(|text| !text.is_empty()).for_each(|text| {
                check.value(setting, text.trim(), parse);
            });
        };
        let mut listen: Vec<SocketAddr> = Vec::new();
        let mut proxies: Vec<IpNet> = Vec::new();
        let mut origins: Vec<String> = Vec::new();
        each("GRANTD_LISTEN", &self.listen, &|text| {
            text.parse::<SocketAddr>()
                .map(drop)
                .map_err(|_| "allowed is ADDRESS:PORT, such as 127.0.0.1:8080".to_owned())
        });
        each("GRANTD_TRUSTED_PROXIES", &self.trusted_proxies, &|text| network(text).map(drop));
        each("GRANTD_CORS_ORIGINS", &self.cors_origins, &|text| origin(text).map(drop));
        listen.extend(self.listen.iter().filter_map(|text| text.trim().parse::<SocketAddr>().ok()));
        proxies.extend(self.trusted_proxies.iter().filter_map(|text| network(text.trim()).ok()));
        origins.extend(self.cors_origins.iter().filter_map(|text| origin(text.trim()).ok()));

        let issuer = match self.issuer.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => check.value("GRANTD_ISSUER", text, issuer).map(Some),
            None => Some(None),
        };
        let given = |file: &Option<PathBuf>| file.clone().filter(|path| !path.as_os_str().is_empty());
        let tls = match (given(&self.tls_cert), given(&self.tls_key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                check.problem("GRANTD_TLS_CERT", "needs GRANTD_TLS_KEY beside it, and the reverse");
                None
            }
        };
        let insecure = check.value("GRANTD_ALLOW_INSECURE", &self.allow_insecure, parse::boolean);
        let registration = check.value("GRANTD_REGISTRATION", &self.registration, parse::boolean);
        let public = listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = public {
            if issuer == Some(None) {
                check.problem("GRANTD_ISSUER", format!("needed, since {address} is not a loopback address"));
            }
            if tls.is_none() && proxies.is_empty() && insecure == Some(false) {
                check.problem(
                    "GRANTD_LISTEN",
                    format!(
                        "{address} is public, and passwords would travel in the clear: set GRANTD_TLS_CERT and \
                         GRANTD_TLS_KEY, or GRANTD_TRUSTED_PROXIES where a proxy ends TLS; \
                         GRANTD_ALLOW_INSECURE=true accepts the risk"
                    ),
                );
            }
        }
        if listen.is_empty() {
            check.problem("GRANTD_LISTEN", "at least one address is needed");
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Some(HttpConfig {
            listen,
            issuer: issuer?,
            trusted_proxies: proxies,
            cors_origins: origins,
            registration: registration?,
            tls,
            workers,
        })
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "allowed is a network such as 10.0.0.0/8 or an address".to_owned())
}
