//! What the server refuses to start with, and what it says then.

use std::os::unix::fs::PermissionsExt as _;

use grantd::clock::Clock;

use crate::harness::{Database, TestServer, beginning, grantd, on_both_engines};

on_both_engines!(another_master_key_is_refused_and_changes_nothing);

async fn refusal(database: &str, flags: &[&str]) -> String {
    TestServer::on(database, flags, Clock::manual(beginning())).await.err().expect("it starts")
}

async fn another_master_key_is_refused_and_changes_nothing(database: Database) {
    let database = TestServer::start(database).await.stop();
    let before = database.row_counts().await;
    let other = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Q";
    for algorithm in ["ES256", "EdDSA"] {
        let flags = ["--master-key", other, "--signing-algorithm", algorithm];
        let said = refusal(database.url(), &flags).await;
        assert!(said.contains("GRANTD_MASTER_KEY") && said.contains("not the master key"), "{said}");
    }
    assert_eq!(database.row_counts().await, before);
}

#[test]
fn a_database_without_its_key_file_is_refused() {
    let database = Database::sqlite();
    let migrate = || grantd(database.url(), &["migrate"], "", &[]);
    assert!(migrate().status.success());
    let key = database.directory().join("master.key");
    let kept = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let refused = migrate();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("GRANTD_MASTER_KEY") && said.contains("master.key") && !key.exists(), "{said}");

    for (text, mode, expected) in [("nonsense\n", 0o600, "base64url"), (kept.as_str(), 0o644, "chmod 600")] {
        std::fs::write(&key, text).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = String::from_utf8_lossy(&migrate().stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(migrate().status.success());
}

#[actix_web::test]
async fn a_public_address_needs_tls_or_a_proxy() {
    let database = Database::sqlite();
    let issuer = ["--issuer", "https://id.example", "--listen", "0.0.0.0:0"];
    let said = refusal(database.url(), &issuer).await;
    assert!(said.contains("GRANTD_LISTEN") && said.contains("GRANTD_ALLOW_INSECURE"), "{said}");
    for accepted in [&["--allow-insecure", ""][..1], &["--trusted-proxies", "10.0.0.0/8"]] {
        let flags = [&issuer[..], accepted].concat();
        assert!(crate::harness::config(database.url(), &flags).is_ok(), "{accepted:?}");
    }
}

#[actix_web::test]
async fn a_database_that_is_away_is_named() {
    let said = refusal("postgres://nobody@127.0.0.1:1/nothing", &["--database-timeout", "1s"]).await;
    assert!(said.starts_with("DATABASE_URL:") && said.to_lowercase().contains("refused"), "{said}");
}

#[actix_web::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(Database::sqlite().url(), &["--listen", &address]).await;
    assert!(said.contains("GRANTD_LISTEN") && said.contains(&address), "{said}");
}
