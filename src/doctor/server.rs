//! Whether the server answers: on its addresses, over TLS alone where it has a certificate, and at the issuer's URL.

use std::{
    error::Error as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, StatusCode, Url, header, redirect, tls::TlsInfo};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::{
    Check::{self, IssuerUrl, Server},
    Finding, Installation, Severity, certificate,
    network::is_loopback,
    span,
};

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// A response of grantd is far smaller.
const BODY: usize = 64 * 1024;
const HEALTHZ: &str = "/healthz";
const METADATA: &str = "/.well-known/oauth-authorization-server";
/// The header `Date` has whole seconds, and the response takes time.
const SKEW: TimeDelta = TimeDelta::seconds(3);
/// Verifiers accept tokens whose times differ by this much.
const TOO_MUCH: TimeDelta = TimeDelta::seconds(30);

/// What was found out about the server.
#[derive(Default)]
pub(super) struct Probe {
    pub(super) findings: Vec<Finding>,
    /// Whether a server of this installation answered.
    pub(super) is_running: bool,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    date: Option<DateTime<Utc>>,
    certificate: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

impl Answer {
    /// Returns whether it is the response of grantd to [`HEALTHZ`].
    fn is_well(&self) -> bool {
        self.status == StatusCode::OK && self.body == br#"{"status":"ok"}"#
    }
}

pub(super) async fn probe(installation: &Installation) -> Probe {
    let mut probe = Probe::default();
    let settings = &installation.settings;
    if let (Some(http), Some(tls)) = (&settings.http, &settings.tls) {
        let leaf = certificate::own(installation);
        let scheme = if tls.files.is_some() { "https" } else { "http" };
        for address in &http.listen {
            probe.listener(*address, scheme, leaf.as_ref()).await;
        }
    }
    if let Some(issuer) = installation.issuer() {
        probe.issuer(&issuer, installation).await;
    }
    probe
}

impl Probe {
    /// `certificate`: that of the settings.
    async fn listener(&mut self, address: SocketAddr, scheme: &str, certificate: Option<&CertificateDer<'_>>) {
        if address.port() == 0 {
            self.findings.push(Finding::ok(Server, address, "the port is chosen at the start; not checked"));
            return;
        }
        let target = reachable(address);
        if !is_open(target).await {
            self.findings.push(Finding::ok(Server, address, "not running; not checked"));
            return;
        }
        match get(&format!("{scheme}://{target}{HEALTHZ}"), false).await {
            Ok(answer) if answer.is_well() => {
                self.is_running = true;
                self.findings.extend(shown_certificate(address, &answer, certificate));
                if scheme == "https" {
                    self.plain(address, target).await;
                } else {
                    self.findings.push(Finding::ok(Server, address, "answers"));
                }
            }
            other => {
                let found = other.map_or_else(|problem| problem, |answer| format!("status {}", answer.status.as_u16()));
                let message = format!("something listens that does not answer {scheme} as grantd does: {found}");
                let remedy = "Restart the server, if it hangs or its settings were changed; or stop the other program";
                self.findings.push(Finding::failure(Server, address, message, remedy));
            }
        }
    }

    /// The port of TLS must not answer plain HTTP.
    async fn plain(&mut self, address: SocketAddr, target: SocketAddr) {
        let is_answered = get(&format!("http://{target}{HEALTHZ}"), false).await.is_ok();
        self.findings.push(if is_answered {
            let message = "plain HTTP is answered on the port of TLS: passwords may be sent unencrypted";
            Finding::failure(Server, address, message, "Restart the server with GRANTD_TLS_CERT and GRANTD_TLS_KEY")
        } else {
            Finding::ok(Server, address, "answers TLS, and no plain HTTP")
        });
    }

    /// Gets the metadata as a service does, with the authorities that this machine trusts.
    async fn issuer(&mut self, issuer: &str, installation: &Installation) {
        let Ok(url) = Url::parse(issuer) else { return };
        if url.port() == Some(0) {
            return;
        }
        let sent = installation.clock.now();
        let answer = match get(&metadata_url(&url), true).await {
            Ok(answer) => answer,
            Err(problem) => {
                let faults = refused_certificate(issuer, &url, &problem, sent).await;
                if faults.is_empty() {
                    self.findings.push(unreachable(issuer, &problem, self.is_running));
                }
                self.findings.extend(faults);
                return;
            }
        };
        let own = certificate::own(installation);
        let of_proxy = answer.certificate.as_deref().filter(|shown| own.as_deref() != Some(*shown));
        let host = url.host_str().unwrap_or_default();
        self.findings.extend(of_proxy.into_iter().flat_map(|shown| certificate::shown(issuer, host, shown, sent)));
        let metadata =
            serde_json::from_slice::<Metadata>(&answer.body).ok().filter(|_| answer.status == StatusCode::OK);
        match metadata {
            Some(metadata) if metadata.issuer == issuer => {
                self.is_running = true;
                self.findings.push(Finding::ok(IssuerUrl, issuer, "leads to a server with this issuer"));
                self.findings.extend(skew(issuer, answer.date, sent, installation.clock.now()));
                self.findings.extend(plain_issuer(&url).await);
            }
            Some(metadata) => {
                let message =
                    format!("leads to a server whose issuer is {}: services refuse its tokens", metadata.issuer);
                let remedy = "Set the same GRANTD_ISSUER on all servers, and restart them";
                self.findings.push(Finding::failure(IssuerUrl, issuer, message, remedy));
            }
            None => {
                let message = format!(
                    "answers with status {} instead of the metadata: services cannot fetch the keys",
                    answer.status.as_u16()
                );
                let remedy = "Start the server; correct GRANTD_ISSUER or the proxy's configuration (deploy/README.md)";
                let finding = if self.is_running { Finding::failure } else { Finding::warning };
                self.findings.push(finding(IssuerUrl, issuer, message, remedy));
            }
        }
    }
}

/// Returns the address to connect to: that of all interfaces is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

async fn is_open(target: SocketAddr) -> bool {
    matches!(tokio::time::timeout(CONNECT, TcpStream::connect(target)).await, Ok(Ok(_)))
}

/// The well-known path stands between host and path (RFC 8414 §3.1).
fn metadata_url(issuer: &Url) -> String {
    let mut url = issuer.clone();
    url.set_path(&format!("{METADATA}{}", issuer.path().trim_end_matches('/')));
    url.into()
}

/// Sends a request. `verified`: the certificate must be one that this machine trusts.
async fn get(url: &str, verified: bool) -> Result<Answer, String> {
    let client = Client::builder()
        .user_agent(concat!("grantd-doctor/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .tls_info(true)
        // The certificate is compared with that of the settings instead, or checked for other faults. Nothing secret is sent.
        .tls_danger_accept_invalid_certs(!verified);
    let client = client.build().map_err(|error| cause(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| cause(&error))?;
    let certificate = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
    let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| date.to_utc());
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY {
            return Err("the response is too long".to_owned());
        }
    }
    Ok(Answer { status, body, date, certificate })
}

/// Returns the innermost cause: reqwest's own text says no more than that it failed.
fn cause(error: &reqwest::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        (text, source) = (error.to_string(), error.source());
    }
    text
}

fn shown_certificate(address: SocketAddr, answer: &Answer, file: Option<&CertificateDer<'_>>) -> Option<Finding> {
    let (shown, file) = (answer.certificate.as_deref()?, file?);
    if shown == file.as_ref() {
        return None;
    }
    let message = "the server shows another certificate than that of GRANTD_TLS_CERT: it cannot use the new one";
    let remedy = "Look into its log for the reason; restart it with these settings";
    Some(Finding::failure(Server, address, message, remedy))
}

/// Returns the faults for which clients refuse the certificate at the issuer's URL, whatever authority they trust.
async fn refused_certificate(issuer: &str, url: &Url, problem: &str, now: DateTime<Utc>) -> Vec<Finding> {
    if !problem.contains("certificate") {
        return Vec::new();
    }
    let shown = get(&metadata_url(url), false).await.ok().and_then(|answer| answer.certificate);
    let host = url.host_str().unwrap_or_default();
    let faults = shown.map(|shown| certificate::shown(issuer, host, &shown, now)).unwrap_or_default();
    faults.into_iter().filter(|fault| fault.severity == Severity::Failure).collect()
}

fn unreachable(issuer: &str, problem: &str, is_running: bool) -> Finding {
    if problem.contains("certificate") {
        let message = format!(
            "this machine does not accept the certificate: {problem}. Services on machines like it cannot fetch the keys"
        );
        let remedy = "Renew the certificate; or, where its authority is your own, install that on each machine, or set \
                      SSL_CERT_FILE";
        return Finding::warning(IssuerUrl, issuer, message, remedy);
    }
    if !is_running {
        return Finding::ok(IssuerUrl, issuer, format!("not reachable from here; not checked ({problem})"));
    }
    let message = format!("the server runs, and its public URL cannot be reached from here: {problem}");
    Finding::warning(
        IssuerUrl,
        issuer,
        message,
        "Correct the name server, the proxy or the firewall, unless that is meant",
    )
}

/// Compares the clock of the server with that of this machine.
fn skew(issuer: &str, date: Option<DateTime<Utc>>, sent: DateTime<Utc>, received: DateTime<Utc>) -> Option<Finding> {
    let date = date?;
    let skew = if date < sent { sent - date } else { date - received };
    let remedy = "Run an NTP client, such as chrony, on each machine";
    let ahead = if date < sent { "behind" } else { "ahead of" };
    let message = format!("the server's clock is {} {ahead} this machine's", span(skew.max(TimeDelta::zero())));
    match skew {
        skew if skew > TOO_MUCH => {
            Some(Finding::failure(Check::Clock, issuer, format!("{message}: services refuse its tokens"), remedy))
        }
        skew if skew > SKEW => Some(Finding::warning(Check::Clock, issuer, message, remedy)),
        _ => None,
    }
}

/// Plain HTTP at the issuer's host must lead to https.
async fn plain_issuer(issuer: &Url) -> Option<Finding> {
    let host = issuer.host_str().unwrap_or_default();
    // Another port belongs to another program.
    if issuer.scheme() != "https" || issuer.port().is_some() || is_loopback(host) {
        return None;
    }
    let url = format!("http://{host}{}{HEALTHZ}", issuer.path().trim_end_matches('/'));
    let answer = get(&url, true).await.ok()?;
    if !answer.is_well() {
        return None;
    }
    let message = "the server answers plain HTTP as well: clients with a wrong URL send passwords unencrypted";
    let remedy = "Let the proxy redirect http to https, or refuse it";
    Some(Finding::failure(IssuerUrl, url, message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_where_the_rfc_says() {
        let url = |issuer: &str| metadata_url(&Url::parse(issuer).unwrap());
        assert_eq!(url("https://id.example"), "https://id.example/.well-known/oauth-authorization-server");
        assert_eq!(url("https://id.example/a/b"), "https://id.example/.well-known/oauth-authorization-server/a/b");
    }

    #[test]
    fn clocks_that_differ_are_found() {
        let now = DateTime::from_timestamp(1_769_860_800, 0).unwrap();
        let severity =
            |seconds| skew("i", Some(now + TimeDelta::seconds(seconds)), now, now).map(|found| found.severity.as_str());
        assert_eq!((severity(0), severity(-1), severity(2)), (None, None, None));
        assert_eq!((severity(10), severity(-10)), (Some("warning"), Some("warning")));
        assert_eq!((severity(31), severity(-3600)), (Some("failure"), Some("failure")));
    }

    #[test]
    fn all_interfaces_are_reached_over_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(reachable("10.0.0.1:80".parse().unwrap()).to_string(), "10.0.0.1:80");
    }
}
