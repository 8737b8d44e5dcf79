//! TLS without a proxy. (Certificate and key are in `tls/`; the key is used only by these tests.)

use std::{fs, os::unix::fs::PermissionsExt as _};

use grantd::clock::Clock;

use crate::{
    harness::{ADMIN_PASSWORD, Database, TestServer, beginning, config, grantd, http_client, on_both_engines},
    token::claims,
};

on_both_engines!(responses_over_tls_have_hsts_and_plain_http_fails);

/// Writes certificate and key to a directory, the key with this mode. Returns the flags.
pub(crate) fn flags(directory: &std::path::Path, mode: u32) -> [String; 4] {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, include_bytes!("tls/cert.pem")).unwrap();
    fs::write(&key, include_bytes!("tls/key.pem")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    ["--tls-cert".to_owned(), cert.display().to_string(), "--tls-key".to_owned(), key.display().to_string()]
}

async fn responses_over_tls_have_hsts_and_plain_http_fails(database: Database) {
    let files = tempfile::tempdir().unwrap();
    let flags = flags(files.path(), 0o600);
    let server = TestServer::with(database, &flags.each_ref().map(String::as_str)).await;
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    let token = server.admin().await;
    assert_eq!(claims(&token)["iss"], server.url());
    let answer = server.get("/users/me").bearer(&token).send().await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, "max-age=31536000"));
    // Plain HTTP gets no response, and does not affect other connections.
    let plain = http_client().get(server.url().replace("https", "http") + "/healthz").send().await;
    assert!(plain.is_err(), "{plain:?}");
    let plain = server.url().replace("https", "http");
    let get = ["token", "get", "--username", "admin", "--password-stdin", "--url", &plain];
    let home = files.path().to_str().unwrap();
    let said = grantd(server.database().url(), &get, ADMIN_PASSWORD, &[("HOME", home)]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("the server at {plain} does not speak HTTP; try https://")), "{said}");
    assert_eq!(server.get("/healthz").send().await.status, 200);
}

#[actix_web::test]
async fn unsafe_and_incomplete_settings_are_refused() {
    let database = Database::sqlite();
    let refusal = async |flags: &[&str]| {
        let server = TestServer::on(database.url(), flags, Clock::manual(beginning())).await;
        server.err().expect("it should not start")
    };
    let [cert_flag, cert, key_flag, key] = &flags(database.directory(), 0o644);
    let why = refusal(&[cert_flag, cert, key_flag, key]).await;
    assert!(why.contains("GRANTD_TLS_KEY") && why.contains("chmod 600"), "{why}");
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [[cert, cert], [key, key]] {
        let why = refusal(&[cert_flag, wrong[0], key_flag, wrong[1]]).await;
        assert!(why.contains("GRANTD_TLS_CERT"), "{why}");
    }
    for half in [[cert_flag, cert], [key_flag, key]] {
        let why = refusal(&half.map(String::as_str)).await;
        assert!(why.contains("GRANTD_TLS_CERT") && why.contains("GRANTD_TLS_KEY"), "{why}");
    }
    // With both, a public address is accepted.
    let public = ["--listen", "0.0.0.0:0", "--issuer", "https://id.example", cert_flag, cert, key_flag, key];
    config(database.url(), &public).unwrap();
}
