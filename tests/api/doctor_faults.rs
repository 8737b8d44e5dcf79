//! `grantd doctor` on installations whose settings, files, certificate or server are at fault: each names its fault, with the
//! right severity and exit code. `doctor_database` does the same for the database.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::Path,
    time::SystemTime,
};

use chrono::{Days, TimeDelta};
use grantd::clock::Clock;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::{
    doctor::{Installation, text},
    harness::Database,
};

/// The settings of one fault, its severity, check and subject, and a part of the message or remedy.
type Fault = (&'static [(&'static str, &'static str)], &'static str, &'static str, &'static str, &'static str);

const SETTINGS: [Fault; 29] = [
    (&[("GRANTD_SESION_TTL", "1d")], "warning", "settings", "GRANTD_SESION_TTL", "Did you mean GRANTD_SESSION_TTL"),
    (&[("GRANTD_SESSION_TTL", "soon")], "failure", "settings", "GRANTD_SESSION_TTL", "found \"soon\""),
    (&[("GRANTD_TLS_CERT", "only-one.pem")], "failure", "settings", "GRANTD_TLS_CERT", "must be set together"),
    (
        &[
            ("GRANTD_LISTEN", "0.0.0.0:0"),
            ("GRANTD_ISSUER", "https://grantd.invalid"),
            ("GRANTD_ALLOW_INSECURE", "true"),
        ],
        "failure",
        "listener",
        "0.0.0.0:0",
        "passwords and tokens are sent unencrypted",
    ),
    (
        &[("GRANTD_LISTEN", "0.0.0.0:0"), ("GRANTD_ISSUER", "https://grantd.invalid")],
        "failure",
        "listener",
        "0.0.0.0:0",
        "The server does not start",
    ),
    (&[("GRANTD_ALLOW_INSECURE", "true")], "warning", "listener", "127.0.0.1:0", "Remove GRANTD_ALLOW_INSECURE"),
    (
        &[
            ("GRANTD_LISTEN", "0.0.0.0:0"),
            ("GRANTD_ISSUER", "https://grantd.invalid"),
            ("GRANTD_TRUSTED_PROXIES", "127.0.0.1,::1"),
        ],
        "warning",
        "listener",
        "0.0.0.0:0",
        "Listen on a loopback address",
    ),
    (
        &[("GRANTD_METRICS_ADDRESS", "203.0.113.7:9464")],
        "warning",
        "metrics-address",
        "203.0.113.7:9464",
        "without credentials",
    ),
    (
        &[("GRANTD_ISSUER", "http://grantd.invalid")],
        "failure",
        "issuer",
        "http://grantd.invalid",
        "replace the published keys",
    ),
    (&[("GRANTD_ISSUER", "http://grantd")], "warning", "issuer", "http://grantd", "looks like a private network"),
    (
        &[("GRANTD_ISSUER", "https://grantd.invalid")],
        "warning",
        "trusted-proxies",
        "https://grantd.invalid",
        "Set GRANTD_TRUSTED_PROXIES",
    ),
    (&[("GRANTD_TRUSTED_PROXIES", "0.0.0.0/0")], "failure", "trusted-proxies", "0.0.0.0/0", "claim any address"),
    (&[("GRANTD_TRUSTED_PROXIES", "10.0.0.1,32.0.0.0/3")], "warning", "trusted-proxies", "32.0.0.0/3", "very wide"),
    (
        &[("GRANTD_CORS_ORIGINS", "https://a.example,http://b.example")],
        "warning",
        "cors-origins",
        "http://b.example",
        "plain HTTP",
    ),
    (&[("GRANTD_API_KEY_QUERY", "true")], "warning", "api-key-query", "GRANTD_API_KEY_QUERY", "X-API-Key"),
    (&[("GRANTD_RATE_LIMIT", "off")], "warning", "rate-limit", "GRANTD_RATE_LIMIT", "not limited"),
    (
        &[("GRANTD_RATE_LIMIT_EXEMPT", "10.0.0.0/8,::/0")],
        "warning",
        "rate-limit",
        "GRANTD_RATE_LIMIT_EXEMPT",
        "::/0 is every address",
    ),
    (&[("GRANTD_LOGIN_FAILURES", "off")], "failure", "login-throttle", "GRANTD_LOGIN_FAILURES", "can be guessed"),
    (&[("GRANTD_LOGIN_FAILURES", "500/1h")], "warning", "login-throttle", "GRANTD_LOGIN_FAILURES", "NIST"),
    (&[("GRANTD_NETWORK_FAILURES", "off")], "warning", "login-throttle", "GRANTD_NETWORK_FAILURES", "every account"),
    (&[("GRANTD_ACCESS_TOKEN_TTL", "12h")], "warning", "lifetimes", "GRANTD_ACCESS_TOKEN_TTL", "Set at most 1h"),
    (&[("GRANTD_REFRESH_LEEWAY", "1h")], "warning", "lifetimes", "GRANTD_REFRESH_LEEWAY", "thief"),
    (&[("GRANTD_PASSWORD_MIN_LENGTH", "6")], "warning", "password-rules", "GRANTD_PASSWORD_MIN_LENGTH", "NIST"),
    (&[("GRANTD_PASSWORD_MIN_STRENGTH", "0")], "warning", "password-rules", "GRANTD_PASSWORD_MIN_STRENGTH", "guess"),
    (
        &[("GRANTD_PASSWORD_BLOCKLIST", "missing.txt")],
        "failure",
        "password-rules",
        "GRANTD_PASSWORD_BLOCKLIST",
        "missing.txt cannot be used",
    ),
    (&[("GRANTD_APPLY", "missing.toml")], "failure", "settings", "GRANTD_APPLY", "missing.toml"),
    (&[("GRANTD_LOG", "trace")], "warning", "log", "GRANTD_LOG", "fills disks"),
    (&[("GRANTD_HASH_MEMORY", "8MiB")], "failure", "hash-parameters", "8 MiB", "OWASP"),
    (
        &[("GRANTD_DATABASE_CONNECTIONS", "1000")],
        "warning",
        "connections",
        "connections to Postgres",
        "there is no room",
    ),
];

#[actix_web::test]
async fn each_unwise_setting_is_named() {
    let sqlite = || Installation::new(Database::sqlite());
    for (settings, severity, check, subject, part) in SETTINGS {
        let mut installation = match check {
            "connections" => match Database::postgres().await {
                Some(database) => Installation::new(database),
                None => continue,
            },
            _ => sqlite(),
        };
        for (name, value) in settings {
            installation.set(name, value);
        }
        let said = installation.audit().only(severity, check, subject);
        assert!(said.contains(part), "{settings:?}: {said}");
    }
}

#[actix_web::test]
async fn files_that_others_can_read_or_write_are_named() {
    let installation = Installation::new(Database::sqlite());
    let database = installation.database.directory().join("grantd.db");
    let key = installation.database.directory().join("master.key");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, wrong, right, severity, part) in [
        (&database, 0o644, 0o600, "failure", "it holds password hashes"),
        (&database, 0o660, 0o600, "warning", "every member of its group"),
        (&key, 0o644, 0o600, "failure", "it holds the master key"),
        (&key, 0o602, 0o600, "failure", "can change it"),
        (&installation.database.directory().to_owned(), 0o777, 0o700, "failure", "replace the database"),
        (&installation.database.directory().to_owned(), 0o775, 0o700, "warning", "every member of its group"),
        (&installation.database.directory().to_owned(), 0o770, 0o700, "warning", "every member of its group"),
    ] {
        mode(path, wrong);
        let said = installation.audit().only(severity, "file-modes", &path.display().to_string());
        assert!(said.contains(part) && said.contains("chmod"), "{said}");
        mode(path, right);
    }
    let dotenv = installation.directory().join(".env");
    for (text, is_secret) in [
        ("GRANTD_LOG=info\n", false),
        ("DATABASE_URL=\"postgres://grantd@db/grantd?sslmode=verify-full\"\n", false),
        ("DATABASE_URL='postgres://grantd:a@db/grantd'\n", true),
        ("DATABASE_URL=postgres://db/grantd?user=a&password=b\n", true),
        ("export GRANTD_ADMIN_PASSWORD='a long enough one'\n", true),
    ] {
        fs::write(&dotenv, text).unwrap();
        mode(&dotenv, 0o644);
        let audit = installation.audit();
        if is_secret {
            audit.only("failure", "file-modes", ".env");
        } else {
            audit.assert_green();
        }
    }
    fs::remove_file(&dotenv).unwrap();
    for damaged in ["", "AAAA\n"] {
        fs::write(&key, damaged).unwrap();
        let said = installation.audit().only("failure", "master-key", "master.key");
        assert!(said.contains("does not hold 32 bytes in base64url"), "{said}");
    }
    fs::remove_file(&key).unwrap();
    let said = installation.audit().only("failure", "master-key", "master.key");
    assert!(said.contains("backup"), "{said}");
}

#[actix_web::test]
async fn a_blocklist_that_the_server_does_not_start_with_is_named() {
    let mut installation = Installation::new(Database::sqlite());
    let unsorted: Vec<_> = (0..300).rev().map(|digest| format!("{digest:040X}:1")).collect();
    let file = installation.directory().join("blocklist.txt");
    fs::write(&file, unsorted.join("\n")).unwrap();
    for (path, part) in [(file.to_str().unwrap(), "order"), ("/tmp", "is not a regular file")] {
        installation.set("GRANTD_PASSWORD_BLOCKLIST", path);
        let said = installation.audit().only("failure", "password-rules", "GRANTD_PASSWORD_BLOCKLIST");
        assert!(said.contains(part) && !said.contains("chmod"), "{said}");
    }
}

#[actix_web::test]
async fn files_of_other_users_are_named() {
    let installation = Installation::new(Database::sqlite());
    let key = installation.database.directory().join("master.key");
    // Only root can give a file away.
    if chown(&key, Some(12345), None).is_err() {
        return;
    }
    let said = installation.audit().only("warning", "file-owners", "master.key");
    assert!(said.contains("user 12345 can change it"), "{said}");
    // What commands of root leave behind, and the server of another user cannot use.
    let beside = |name| installation.database.directory().join(name);
    for name in ["grantd.db", "master.key", "grantd.db.pid", "grantd.db.lock"] {
        fs::OpenOptions::new().append(true).create(true).mode(0o600).open(beside(name)).unwrap();
        chown(beside(name), Some(12345), Some(12345)).unwrap();
    }
    installation.audit().assert_green();
    for (name, part) in
        [("grantd.db.pid", "cannot write it"), ("grantd.db.lock", "cannot write it"), ("master.key", "cannot read it")]
    {
        chown(beside(name), Some(0), Some(0)).unwrap();
        let said = installation.audit().only("failure", "file-owners", name);
        assert!(said.contains("belongs to root") && said.contains(part), "{said}");
        chown(beside(name), Some(12345), Some(12345)).unwrap();
    }
}

/// Writes a certificate and its key, and sets them. It is valid from the beginning of one year to that of another.
pub(crate) fn certify(installation: &mut Installation, names: &[&str], years: (i32, i32)) {
    certify_with(installation, names, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    });
}

pub(crate) fn certify_with(installation: &mut Installation, names: &[&str], change: impl Fn(&mut CertificateParams)) {
    let pair = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| installation.database.directory().join(name));
    fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    installation.set("GRANTD_TLS_CERT", &cert.display().to_string());
    installation.set("GRANTD_TLS_KEY", &key.display().to_string());
}

#[actix_web::test]
async fn certificates_that_clients_refuse_are_named() {
    let mut installation = Installation::new(Database::sqlite());
    certify(&mut installation, &["localhost", "127.0.0.1"], (2020, 2090));
    let said = installation.audit().only("warning", "certificate", "cert.pem");
    assert!(said.contains("self-signed"), "{said}");
    for (names, years, part) in [
        (&["127.0.0.1"][..], (2020, 2021), "expired on 2021-01-01"),
        (&["127.0.0.1"], (2089, 2090), "is not valid before 2089-01-01"),
        (&["id.example.com"], (2020, 2090), "it is not for 127.0.0.1"),
    ] {
        certify(&mut installation, names, years);
        let audit = installation.audit();
        let [failure] = &audit.with("failure")[..] else { panic!("{:?}", audit.with("failure")) };
        assert!(failure.starts_with("certificate: ") && failure.ends_with("cert.pem"), "{failure}");
        assert!(audit.of("certificate").iter().any(|finding| text(finding, "message").contains(part)), "{part}");
        assert_eq!(audit.code, Some(1));
    }
    certify(&mut installation, &["127.0.0.1"], (2020, 2090));
    let key = installation.database.directory().join("key.pem");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let said = installation.audit().only("failure", "certificate", "cert.pem");
    assert!(said.contains("does not belong to"), "{said}");
    installation.set("GRANTD_ISSUER", "http://localhost");
    let audit = installation.audit();
    assert!(audit.with("failure").contains(&"issuer: http://localhost".to_owned()), "{:?}", audit.with("failure"));
}

#[actix_web::test]
async fn certificates_that_expire_soon_are_named() {
    let mut installation = Installation::new(Database::sqlite());
    let now = Clock::system().now();
    for (before, after, severity) in [(80, 10, Some("warning")), (88, 2, Some("failure")), (3, 3, None)] {
        certify_with(&mut installation, &["127.0.0.1"], |params| {
            params.not_before = SystemTime::from(now - Days::new(before)).into();
            params.not_after = SystemTime::from(now + Days::new(after) + TimeDelta::hours(1)).into();
        });
        let audit = installation.audit();
        let expires = format!("expires in {after} days");
        let found: Vec<_> =
            audit.of("certificate").into_iter().filter(|one| text(one, "message").contains(&expires)).collect();
        assert_eq!(found.first().map(|one| text(one, "severity")), severity, "{:?}", audit.findings);
    }
    certify_with(&mut installation, &["127.0.0.1"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let audit = installation.audit();
    assert!(
        audit.of("certificate").iter().any(|one| text(one, "message").contains("not for servers")),
        "{:?}",
        audit.findings
    );
    // The certificate of another authority follows that of the server.
    certify(&mut installation, &["127.0.0.1"], (2020, 2090));
    let cert = installation.database.directory().join("cert.pem");
    let other = fs::read_to_string("tests/api/tls/cert.pem").unwrap();
    fs::write(&cert, fs::read_to_string(&cert).unwrap() + &other).unwrap();
    let audit = installation.audit();
    let order = "is followed by a certificate that did not issue it";
    assert!(audit.of("certificate").iter().any(|one| text(one, "message").contains(order)), "{:?}", audit.findings);
}

#[actix_web::test]
async fn a_server_over_tls_is_reached_and_its_certificate_compared() {
    let mut installation = Installation::new(Database::sqlite());
    certify(&mut installation, &["127.0.0.1"], (2020, 2090));
    let server = installation.serve();
    installation.set("GRANTD_LISTEN", server.url().trim_start_matches("https://"));
    let audit = installation.audit();
    assert_eq!(text(audit.of("server")[0], "message"), "answers TLS, and no plain HTTP");
    // A self-signed certificate is trusted by nobody.
    let warnings = audit.with("warning");
    assert_eq!(audit.with("failure").len(), 0, "{:?}", audit.findings);
    assert!(warnings.len() == 2 && warnings[1].starts_with("issuer-url: https://127.0.0.1:"), "{warnings:?}");
    // The settings of the doctor name another certificate than the server uses.
    let cert = installation.database.directory().join("cert.pem").display().to_string();
    let [other_cert, other_key] = ["cert.pem", "key.pem"].map(|name| installation.directory().join(name));
    for (from, to) in [("cert.pem", &other_cert), ("key.pem", &other_key)] {
        fs::copy(installation.database.directory().join(from), to).unwrap();
    }
    certify(&mut installation, &["127.0.0.1"], (2020, 2091));
    fs::copy(&cert, installation.directory().join("new.pem")).unwrap();
    drop(server);
    installation.set("GRANTD_TLS_CERT", &other_cert.display().to_string());
    installation.set("GRANTD_TLS_KEY", &other_key.display().to_string());
    installation.set("GRANTD_LISTEN", "127.0.0.1:0");
    let server = installation.serve();
    installation.set("GRANTD_LISTEN", server.url().trim_start_matches("https://"));
    certify(&mut installation, &["127.0.0.1"], (2020, 2091));
    let failures = installation.audit().with("failure");
    assert!(failures.len() == 1 && failures[0].starts_with("server: 127.0.0.1:"), "{failures:?}");
}

#[actix_web::test]
async fn another_program_and_another_issuer_are_named() {
    let mut installation = Installation::new(Database::sqlite());
    let server = installation.serve();
    let address = server.url().trim_start_matches("http://").to_owned();
    installation.set("GRANTD_LISTEN", &address);
    // The server's issuer is its address.
    installation.set("GRANTD_ISSUER", &format!("http://localhost:{}", address.rsplit(':').next().unwrap()));
    let said = installation.audit().only("failure", "issuer-url", "http://localhost:");
    assert!(said.contains(&format!("whose issuer is http://{address}")), "{said}");
    drop(server);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    installation.set("GRANTD_LISTEN", &other.local_addr().unwrap().to_string());
    installation.set("GRANTD_ISSUER", "");
    std::thread::spawn(move || other.incoming().for_each(drop));
    let audit = installation.audit();
    assert!(audit.with("failure")[0].starts_with("server: 127.0.0.1:"), "{:?}", audit.findings);
}
