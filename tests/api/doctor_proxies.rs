//! `grantd doctor` where a proxy stands before the server, and on addresses for others than clients.

use std::time::SystemTime;

use chrono::TimeDelta;
use grantd::clock::Clock;

use crate::{
    doctor::{Installation, text},
    doctor_faults::{certify, certify_with},
    harness::{Database, Grantd},
};

/// Starts a server with a certificate, which stands for a proxy: the installation itself has none, and its issuer is there.
/// This machine trusts the certificate.
fn behind_tls(installation: &mut Installation) -> Grantd {
    installation.set("GRANTD_LISTEN", "127.0.0.1:0");
    installation.set("GRANTD_ISSUER", "");
    let proxy = installation.serve();
    installation.set("GRANTD_ISSUER", proxy.url());
    for setting in ["GRANTD_TLS_CERT", "GRANTD_TLS_KEY"] {
        installation.set(setting, "");
    }
    let certificate = installation.database.directory().join("cert.pem");
    installation.set("SSL_CERT_FILE", &certificate.display().to_string());
    proxy
}

#[actix_web::test]
async fn the_certificate_of_a_proxy_is_checked() {
    let mut installation = Installation::new(Database::sqlite());
    let now = Clock::system().now();
    for (names, before, after, severity, part) in [
        (["127.0.0.1"], 10, 80, None, ""),
        (["127.0.0.1"], 80, 10, Some("warning"), "expires in 10 days"),
        (["127.0.0.1"], 89, 1, Some("failure"), "expires in 1 day"),
        (["127.0.0.1"], 90, -1, Some("failure"), "expired on "),
        (["127.0.0.1"], -1, 90, Some("failure"), "is not valid before "),
        (["id.example.com"], 10, 80, Some("failure"), "it is not for 127.0.0.1"),
    ] {
        certify_with(&mut installation, &names, |params| {
            params.not_before = SystemTime::from(now - TimeDelta::days(before)).into();
            params.not_after = SystemTime::from(now + TimeDelta::days(after) + TimeDelta::hours(1)).into();
        });
        let proxy = behind_tls(&mut installation);
        let audit = installation.audit();
        match severity {
            Some(severity) => {
                let said = audit.only(severity, "issuer-url", proxy.url());
                assert!(said.contains(part), "{said}");
            }
            None => audit.assert_green(),
        }
    }
    // An authority that this machine does not know: others may.
    certify(&mut installation, &["127.0.0.1"], (2020, 2090));
    let proxy = behind_tls(&mut installation);
    installation.set("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/tls/cert.pem"));
    let said = installation.audit().only("warning", "issuer-url", proxy.url());
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[actix_web::test]
async fn a_proxy_that_encrypts_anew_may_accept_any_certificate() {
    let mut installation = Installation::new(Database::sqlite());
    certify(&mut installation, &["grantd.internal"], (2020, 2090));
    installation.set("GRANTD_LISTEN", "0.0.0.0:0");
    installation.set("GRANTD_ISSUER", "https://grantd.invalid");
    installation.set("GRANTD_TRUSTED_PROXIES", "10.0.0.1");
    let audit = installation.audit();
    audit.assert_green();
    let said = text(audit.of("certificate")[0], "message");
    assert!(said.contains("for the trusted proxies only"), "{said}");
    // It must be valid nevertheless.
    certify(&mut installation, &["grantd.internal"], (2020, 2021));
    installation.audit().only("failure", "certificate", "cert.pem");
    // Without a proxy, clients see it.
    certify(&mut installation, &["grantd.internal"], (2020, 2090));
    installation.set("GRANTD_TRUSTED_PROXIES", "");
    assert!(installation.audit().with("failure")[0].starts_with("certificate: "));
}

/// `docker-compose.yml` behind a public proxy, as `docs/postgres.md` describes it.
#[actix_web::test]
async fn a_container_behind_a_proxy_has_no_faults() {
    let mut installation = Installation::new(Database::sqlite());
    for (name, value) in [
        ("GRANTD_LISTEN", "0.0.0.0:0"),
        ("GRANTD_ISSUER", "https://grantd.invalid"),
        ("GRANTD_ALLOW_INSECURE", "true"),
        ("GRANTD_TRUSTED_PROXIES", "172.18.0.0/16"),
        ("GRANTD_METRICS_ADDRESS", "0.0.0.0:9464"),
    ] {
        installation.set(name, value);
    }
    let audit = installation.audit();
    audit.assert_green();
    let metrics = audit.of("metrics-address")[0];
    assert!(text(metrics, "message").contains("without credentials"), "{metrics}");
    assert!(text(metrics, "remedy").contains("Keep the port from other networks"), "{metrics}");
}
