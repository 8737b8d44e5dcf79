//! `grantd tls self-signed`.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use serde_json::{Value, json};

use crate::harness::{Database, Grantd, grantd};

fn self_signed(arguments: &[&str]) -> Output {
    // No database is opened.
    grantd("sqlite:///none/grantd.db", &[&["tls", "self-signed"], arguments].concat(), "", &[])
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[actix_web::test]
async fn a_server_runs_with_the_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("new/tls");
    let made = self_signed(&["--out", out.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| out.join(name));
    let settings = [("GRANTD_TLS_CERT", cert.to_str().unwrap()), ("GRANTD_TLS_KEY", key.to_str().unwrap())];
    for (name, value) in settings {
        assert!(text(&made.stdout).contains(&format!("{name}={value}\n")), "{}", text(&made.stdout));
    }
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cert) & 0o600, mode(&key)), (0o600, 0o600));

    let database = Database::sqlite();
    let server = Grantd::start(database.url(), &settings);
    let trusted = reqwest::Certificate::from_pem(&fs::read(&cert).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let by_name = server.url().replace("127.0.0.1", "localhost");
    for url in [server.url(), &by_name] {
        assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), 200, "{url}");
    }
    // Nobody else trusts it.
    let other = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(other.get(format!("{}/healthz", server.url())).send().await.unwrap_err().is_connect());
}

#[test]
fn hosts_are_those_of_the_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let made = self_signed(&[
        "--out",
        out,
        "--host",
        "id.example.com",
        "--host",
        "192.0.2.1",
        "--host",
        "ID.example.com",
        "--json",
    ]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["hosts"], json!(["id.example.com", "192.0.2.1"]));
    assert_eq!(made["certificate"], format!("{out}/cert.pem"));
    assert_eq!(made["key"], format!("{out}/key.pem"));
    assert!(made["not_after"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{made}");
    for wrong in [&["--host", "https://id.example.com"][..], &["--host", "id.example.com:443"], &["--host"]] {
        assert_eq!(self_signed(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn existing_files_are_kept_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    fs::write(&key, "precious").unwrap();
    let refused = self_signed(&["--out", out]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("key.pem exists already") && said.contains("--force"));
    assert_eq!(fs::read_to_string(&key).unwrap(), "precious");
    assert!(!cert.exists(), "nothing was written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(self_signed(&["--out", out, "--force"]).status.success());
    assert!(fs::read_to_string(&key).unwrap().contains("PRIVATE KEY") && cert.exists());
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    // A directory that cannot be made.
    let refused = self_signed(&["--out", &format!("{out}/key.pem/x")]);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("key.pem/x"));
}
