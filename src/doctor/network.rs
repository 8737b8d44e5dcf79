//! Addresses, issuer, proxies and origins.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use super::{
    Check::{CorsOrigins, Issuer, Listener, MetricsAddress, TrustedProxies},
    Finding, Installation, Severity,
};
use crate::config::{HttpConfig, ProxyConfig, TelemetryConfig, TlsConfig};

pub(super) fn check(installation: &Installation) -> Vec<Finding> {
    let settings = &installation.settings;
    let (Some(http), Some(tls), Some(proxies)) = (&settings.http, &settings.tls, &settings.proxies) else {
        return Vec::new();
    };
    let mut findings = listeners(http, tls, proxies);
    findings.extend(settings.telemetry.as_ref().map(metrics));
    if let Some(text) = installation.issuer()
        && let Ok(url) = Url::parse(&text)
    {
        // Where the address itself is the fault, a proxy would be a second one.
        if findings.iter().all(|finding| finding.severity != Severity::Failure) {
            findings.push(proxy_of(&text, &url, tls, proxies));
        }
        findings.push(issuer(&text, &url, tls));
        findings.push(origins(&url, http));
    }
    findings.extend(proxies.trusted.iter().filter_map(wide));
    findings
}

/// Whatever `GRANTD_ALLOW_INSECURE` says: it accepts the risk, and the audit names it.
fn listeners(http: &HttpConfig, tls: &TlsConfig, proxies: &ProxyConfig) -> Vec<Finding> {
    let public: Vec<_> = http.listen.iter().filter(|address| !address.ip().is_loopback()).collect();
    let addresses = http.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !public.is_empty() && tls.files.is_none() && proxies.trusted.is_empty() {
        let start = if http.allow_insecure { "" } else { ". The server does not start" };
        let message = format!(
            "a public address without TLS: passwords and tokens are sent unencrypted, and anybody on the way reads them{start}"
        );
        let remedy = "Set GRANTD_TLS_CERT and GRANTD_TLS_KEY, or GRANTD_TRUSTED_PROXIES where a proxy terminates TLS; or \
                      listen on a loopback address";
        return public.iter().map(|address| Finding::failure(Listener, address, message.clone(), remedy)).collect();
    }
    let is_plain = !public.is_empty() && tls.files.is_none();
    if is_plain && proxies.trusted.iter().all(|network| network.addr().is_loopback()) {
        let message = "plain HTTP on a public address, and all trusted proxies are on this machine: others can reach it past \
                       them, and send passwords unencrypted";
        let remedy = "Listen on a loopback address in GRANTD_LISTEN";
        return public.iter().map(|address| Finding::warning(Listener, address, message, remedy)).collect();
    }
    // In a container, a start would refuse an address that is not public outside: the setting is needed.
    if http.allow_insecure && !is_plain {
        let message = "GRANTD_ALLOW_INSECURE is set, and no address needs it: a later change that exposes passwords would \
                       start without an error";
        return vec![Finding::warning(Listener, addresses, message, "Remove GRANTD_ALLOW_INSECURE")];
    }
    let message = match (public.is_empty(), tls.files.is_some()) {
        (_, true) => "TLS on all addresses",
        (true, false) => "loopback addresses only",
        (false, false) => "plain HTTP, for the trusted proxies that terminate TLS",
    };
    vec![Finding::ok(Listener, addresses, message)]
}

/// The metrics need no credentials there.
fn metrics(telemetry: &TelemetryConfig) -> Finding {
    let Some(address) = telemetry.metrics_address else {
        return Finding::ok(MetricsAddress, "GRANTD_METRICS_ADDRESS", "metrics need the scope audit:read");
    };
    let ip = address.ip().to_canonical();
    if ip.is_loopback() {
        return Finding::ok(MetricsAddress, address, "a loopback address");
    }
    if ip.is_unspecified() || is_private(&ip.to_string()) {
        let message = "plain HTTP without credentials: who reaches it can read names of routes, rates and errors";
        let advice = "Keep the port from other networks, with a firewall or by not publishing it";
        return Finding::ok(MetricsAddress, address, message).with_advice(advice);
    }
    let message = "plain HTTP without credentials on a public address: everybody can read rates and errors";
    let remedy = "Set a loopback or private address, or remove the setting: /metrics then needs the scope audit:read";
    Finding::warning(MetricsAddress, address, message, remedy)
}

fn issuer(text: &str, url: &Url, tls: &TlsConfig) -> Finding {
    let host = url.host_str().unwrap_or_default();
    let is_https = url.scheme() == "https";
    if tls.files.is_some() && !is_https {
        let message = "the issuer begins with http, and the server speaks TLS: services cannot fetch its keys, and refuse all \
                       tokens";
        return Finding::failure(Issuer, text, message, "Set GRANTD_ISSUER to the https URL");
    }
    if is_https || is_loopback(host) {
        return Finding::ok(Issuer, text, if is_https { "https" } else { "a loopback address" });
    }
    let message = "the issuer begins with http: whoever is on the way to a service can replace the published keys, and forge \
                   tokens";
    let remedy =
        "Set GRANTD_ISSUER to an https URL, and GRANTD_TLS_CERT and GRANTD_TLS_KEY where no proxy terminates TLS";
    if is_private(host) {
        Finding::warning(Issuer, text, format!("{message}; {host} looks like a private network"), remedy)
    } else {
        Finding::failure(Issuer, text, message, remedy)
    }
}

/// A public issuer whose server speaks plain HTTP has a proxy before it.
fn proxy_of(text: &str, issuer: &Url, tls: &TlsConfig, proxies: &ProxyConfig) -> Finding {
    let is_public = !is_loopback(issuer.host_str().unwrap_or_default());
    if issuer.scheme() == "https" && is_public && tls.files.is_none() && proxies.trusted.is_empty() {
        let message = "a proxy must terminate TLS for the issuer, and none is trusted to report addresses: all users share the \
                       proxy's, so that one guesser throttles everybody, and the audit log names no caller";
        return Finding::warning(TrustedProxies, text, message, "Set GRANTD_TRUSTED_PROXIES to the proxy's address");
    }
    let trusted = proxies.trusted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if trusted.is_empty() {
        return Finding::ok(TrustedProxies, "no proxies", "the address of a caller is that of the connection");
    }
    Finding::ok(TrustedProxies, trusted, format!("read from {}", proxies.header.as_str()))
}

/// Returns a finding for a network that is wider than that of any proxy.
fn wide(network: &IpNet) -> Option<Finding> {
    let remedy = "Name the networks of your proxies only";
    let least = if network.addr().is_ipv4() { 8 } else { 16 };
    match network.prefix_len() {
        0 => {
            let message = "every address counts as a proxy: any caller may claim any address, which disables the limits on \
                           failed logins and requests, and falsifies the audit log";
            Some(Finding::failure(TrustedProxies, network, message, remedy))
        }
        prefix if prefix < least => {
            let message = "a very wide network: every caller in it may claim any address";
            Some(Finding::warning(TrustedProxies, network, message, remedy))
        }
        _ => None,
    }
}

fn origins(issuer: &Url, http: &HttpConfig) -> Finding {
    if http.cors_origins.is_empty() {
        return Finding::ok(CorsOrigins, "no origins", "no page of another origin may call from a browser");
    }
    let is_local = |origin: &Url| is_loopback(origin.host_str().unwrap_or_default());
    let insecure = http.cors_origins.iter().filter(|origin| {
        let Ok(origin) = Url::parse(origin) else { return false };
        origin.scheme() == "http" && (!is_local(&origin) || issuer.scheme() == "https")
    });
    let insecure: Vec<_> = insecure.cloned().collect();
    if insecure.is_empty() {
        return Finding::ok(CorsOrigins, http.cors_origins.join(", "), "may call from a browser");
    }
    let message = "pages over plain HTTP, which anybody on the way can change, may call with the tokens of their users";
    let remedy = "Use https origins in GRANTD_CORS_ORIGINS; remove those of development";
    Finding::warning(CorsOrigins, insecure.join(", "), message, remedy)
}

/// Returns the address that a host is, if it is one.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || address(host).is_some_and(|address| address.is_loopback())
}

/// Returns whether a host cannot be one of the internet: a name without a dot, of a local zone, or a private address.
pub(super) fn is_private(host: &str) -> bool {
    match address(host) {
        Some(IpAddr::V4(address)) => {
            // The last: RFC 6598, of providers and overlay networks.
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            address.is_private() || address.is_loopback() || address.is_link_local() || is_shared
        }
        Some(IpAddr::V6(address)) => {
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
        None => {
            !host.contains('.')
                || [".internal", ".local", ".svc", ".lan", ".test"].iter().any(|zone| host.ends_with(zone))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_public_unless_they_cannot_be() {
        for private in [
            "db",
            "localhost",
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "[::1]",
            "[fd00::1]",
            "grantd.default.svc",
            "id.test",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in ["id.example.com", "203.0.113.7", "[2001:db8::1]", "localhost.example"] {
            assert!(!is_private(public), "{public}");
        }
        assert!(is_loopback("localhost") && is_loopback("127.0.0.9") && !is_loopback("10.0.0.1"));
    }

    #[test]
    fn metrics_are_for_private_networks() {
        let severity = |address: &str| {
            let metrics_address = Some(address.parse().unwrap());
            metrics(&TelemetryConfig { metrics_address, otlp_endpoint: None }).severity.as_str()
        };
        for private in ["127.0.0.1:9464", "10.1.2.3:9464", "0.0.0.0:9464", "[::]:9464", "[fd00::1]:9464"] {
            assert_eq!(severity(private), "ok", "{private}");
        }
        for public in ["203.0.113.7:9464", "[2a00::1]:9464", "[::ffff:203.0.113.7]:9464"] {
            assert_eq!(severity(public), "warning", "{public}");
        }
    }

    #[test]
    fn only_networks_of_proxies_are_narrow_enough() {
        let severity = |network: &str| wide(&network.parse().unwrap()).map(|finding| finding.severity.as_str());
        assert_eq!((severity("0.0.0.0/0"), severity("::/0")), (Some("failure"), Some("failure")));
        assert_eq!((severity("0.0.0.0/1"), severity("2000::/3")), (Some("warning"), Some("warning")));
        assert_eq!((severity("10.0.0.0/8"), severity("fd00::/16"), severity("127.0.0.1/32")), (None, None, None));
    }
}
