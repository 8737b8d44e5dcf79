//! The certificate of the server: its files, its validity, its names and its key.

use std::{net::IpAddr, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA},
    public_key::PublicKey,
};

use super::{Check, Finding, Installation, date, network::is_loopback, span};
use crate::{clock::Clock, config::only_ours, server};

/// A certificate must be renewed this long before it expires, or at a quarter of its lifetime where that is shorter: some live
/// for days only.
const SOON: TimeDelta = TimeDelta::days(21);
const VERY_SOON: TimeDelta = TimeDelta::days(3);
const RSA_BITS: usize = 2048;
const EC_BITS: usize = 256;

pub(super) fn check(installation: &Installation, now: DateTime<Utc>) -> Vec<Finding> {
    let Some((chain, key)) = installation.settings.tls.as_ref().and_then(|tls| tls.files.as_ref()) else {
        return Vec::new();
    };
    // A key that others can read is a finding of `files.rs`; the server refuses it too.
    if only_ours(key).is_err() {
        return Vec::new();
    }
    let subject = chain.display().to_string();
    if let Err(problem) = server::Certificate::read(chain, key, Clock::system()) {
        let remedy = "Set GRANTD_TLS_CERT to the certificate and its intermediates, and GRANTD_TLS_KEY to its key, in PEM; run \
                      this command as the user of the server";
        return vec![failure(&subject, format!("{problem}. The server does not start"), remedy)];
    }
    let is_internal = is_internal(installation);
    let host = installation
        .issuer()
        .filter(|_| !is_internal)
        .and_then(|issuer| Url::parse(&issuer).ok())
        .and_then(|url| url.host_str().map(str::to_owned));
    let certificates = read(chain);
    let parsed: Vec<_> =
        certificates.iter().filter_map(|der| Some(x509_parser::parse_x509_certificate(der).ok()?.1)).collect();
    let Some(leaf) = parsed.first() else { return vec![failure(&subject, "it cannot be parsed", "Replace it")] };
    let mut findings: Vec<_> = parsed.iter().filter_map(|one| validity(&subject, one, now)).collect();
    findings.extend(order(&subject, &parsed));
    findings.extend(host.and_then(|host| name(&subject, leaf, &host)));
    findings.extend(usage(&subject, leaf));
    findings.extend(parsed.iter().filter_map(|one| strength(&subject, one)));
    findings.extend(trust(&subject, leaf).filter(|_| !is_internal));
    if findings.is_empty() {
        let until = date(time(leaf.validity().not_after.timestamp()));
        let of_proxy = ", for the trusted proxies only: they must accept it, and clients see the proxy's";
        let message = format!("valid until {until}{}", if is_internal { of_proxy } else { "" });
        findings.push(Finding::ok(Check::Certificate, subject, message));
    }
    findings
}

/// Returns whether only proxies see the certificate, which encrypt anew: it may have another name, and any authority.
fn is_internal(installation: &Installation) -> bool {
    let settings = &installation.settings;
    let issuer = settings.http.as_ref().and_then(|http| http.issuer.as_deref()).and_then(|url| Url::parse(url).ok());
    let is_public = issuer.is_some_and(|url| !is_loopback(url.host_str().unwrap_or_default()));
    is_public && settings.proxies.as_ref().is_some_and(|proxies| !proxies.trusted.is_empty())
}

/// Checks the certificate at the issuer's URL, which may be that of a proxy: whether it is valid, and for the host.
pub(super) fn shown(issuer: &str, host: &str, der: &[u8], now: DateTime<Utc>) -> Vec<Finding> {
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(der) else { return Vec::new() };
    let faults = validity(issuer, &leaf, now).into_iter().chain(name(issuer, &leaf, host));
    faults.map(|fault| Finding { check: Check::IssuerUrl, ..fault }).collect()
}

/// Returns the certificate of the server in the settings.
pub(super) fn own(installation: &Installation) -> Option<CertificateDer<'static>> {
    let (chain, _) = installation.settings.tls.as_ref()?.files.as_ref()?;
    CertificateDer::pem_file_iter(chain).ok()?.next()?.ok()
}

fn failure(subject: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::failure(Check::Certificate, subject, message, remedy)
}

fn read(chain: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(chain).map(|all| all.filter_map(Result::ok).collect()).unwrap_or_default()
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn validity(subject: &str, certificate: &X509Certificate<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let validity = certificate.validity();
    let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    let (left, name) = (until - now, certificate.subject());
    let renew = "Renew it, and find out why that did not happen by itself (docs/tls.md)";
    if from > now {
        let remedy = "Correct the clock of this machine, or use another certificate";
        return Some(failure(subject, format!("{name} is not valid before {}: clients refuse it", date(from)), remedy));
    }
    if left <= TimeDelta::zero() {
        return Some(failure(subject, format!("{name} expired on {}: clients refuse it", date(until)), renew));
    }
    let lifetime = until - from;
    if left < VERY_SOON.min(lifetime / 10) {
        return Some(failure(subject, format!("{name} expires in {}: clients will refuse it", span(left)), renew));
    }
    if left < SOON.min(lifetime / 4) {
        let message = format!("{name} expires in {}: clients will refuse it", span(left));
        return Some(Finding::warning(Check::Certificate, subject, message, renew));
    }
    None
}

/// Each certificate is issued by the next one.
fn order(subject: &str, chain: &[X509Certificate<'_>]) -> Option<Finding> {
    let broken = chain.windows(2).find(|pair| matches!(pair, [one, next] if one.issuer() != next.subject()))?;
    let message = format!(
        "{} is followed by a certificate that did not issue it: many clients refuse the chain",
        broken.first()?.subject()
    );
    Some(failure(
        subject,
        message,
        "Put the intermediate certificates after the server's, each after the one that it issued",
    ))
}

fn name(subject: &str, leaf: &X509Certificate<'_>, host: &str) -> Option<Finding> {
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| names.value.general_names.clone())
        .unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if names.iter().any(|name| covers(name, host)) {
        return None;
    }
    let message = format!("it is not for {host}, the host of GRANTD_ISSUER: clients refuse it");
    Some(failure(subject, message, format!("Get a certificate with the name {host}, or correct GRANTD_ISSUER")))
}

fn covers(name: &GeneralName<'_>, host: &str) -> bool {
    match (name, host.parse::<IpAddr>()) {
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V4(address))) => **bytes == address.octets(),
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V6(address))) => **bytes == address.octets(),
        // A wildcard stands for one label.
        (GeneralName::DNSName(name), Err(_)) => match name.strip_prefix("*.") {
            Some(zone) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(zone)),
            None => host.eq_ignore_ascii_case(name),
        },
        _ => false,
    }
}

fn usage(subject: &str, leaf: &X509Certificate<'_>) -> Option<Finding> {
    let usage = leaf.extended_key_usage().ok().flatten()?;
    let is_for_servers = usage.value.server_auth || usage.value.any;
    (!is_for_servers).then(|| {
        failure(
            subject,
            "it is not for servers (extended key usage): clients refuse it",
            "Get a certificate for TLS servers",
        )
    })
}

fn strength(subject: &str, certificate: &X509Certificate<'_>) -> Option<Finding> {
    let name = certificate.subject();
    let algorithm = &certificate.signature_algorithm.algorithm;
    let is_self_signed = certificate.issuer() == name;
    let weak = [OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA];
    if weak.contains(algorithm) && !is_self_signed {
        return Some(failure(
            subject,
            format!("{name} is signed with SHA-1 or MD5: clients refuse it"),
            "Get a new certificate",
        ));
    }
    let least = match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS => format!("{} bits of RSA", key.key_size()),
        Ok(PublicKey::EC(key)) if key.key_size() < EC_BITS => format!("{} bits of an elliptic curve", key.key_size()),
        _ => return None,
    };
    let remedy = "Create a key of 2048 bits of RSA or on P-256, and get a certificate for it";
    Some(failure(subject, format!("the key of {name} is weak ({least}): it can be broken"), remedy))
}

fn trust(subject: &str, leaf: &X509Certificate<'_>) -> Option<Finding> {
    if leaf.issuer() != leaf.subject() {
        return None;
    }
    let message = "it is self-signed: clients refuse it unless each is told to trust it";
    Some(Finding::warning(Check::Certificate, subject, message, "Get one from an authority; docs/tls.md describes how"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let dns = |name, host| covers(&GeneralName::DNSName(name), host);
        assert!(dns("id.example.com", "ID.example.com") && dns("*.example.com", "id.example.com"));
        assert!(!dns("*.example.com", "a.id.example.com") && !dns("*.example.com", "example.com"));
        assert!(covers(&GeneralName::IPAddress(&[127, 0, 0, 1]), "127.0.0.1"));
        assert!(!covers(&GeneralName::IPAddress(&[127, 0, 0, 1]), "127.0.0.2") && !dns("127.0.0.1", "127.0.0.1"));
    }
}
