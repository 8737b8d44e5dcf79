//! When the server refuses to start, and how it stops.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::harness::{
    ADMIN_PASSWORD, Database, Grantd, TestServer, beginning, config, eventually, grantd, on_both_engines,
};

on_both_engines!(a_wrong_master_key_is_refused_and_changes_nothing, a_database_of_a_newer_server_is_refused);

/// 32 bytes of `x`.
const OTHER_KEY: &str = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg";

/// Returns the error of a server that does not start.
async fn refusal(database: &Database, flags: &[&str]) -> String {
    let clock = grantd::clock::Clock::manual(beginning());
    TestServer::on(database.url(), flags, clock).await.err().expect("it should not start")
}

async fn a_wrong_master_key_is_refused_and_changes_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let before = server.database().row_counts().await;
    let database = server.stop();
    for flags in [vec!["--master-key", OTHER_KEY], vec!["--master-key", OTHER_KEY, "--signing-algorithm", "EdDSA"]] {
        let why = refusal(&database, &flags).await;
        assert!(why.contains("GRANTD_MASTER_KEY") && !why.contains(OTHER_KEY), "{why}");
    }
    assert_eq!(database.row_counts().await, before);
    let server = TestServer::with(database, &[]).await;
    server.login("admin", ADMIN_PASSWORD).await;
}

async fn a_database_of_a_newer_server_is_refused(database: Database) {
    let server = TestServer::start(database).await;
    let database = server.stop();
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     SELECT 9999, 'of a newer grantd', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    database.execute(migration).await.unwrap();
    let why = refusal(&database, &[]).await;
    assert!(why.contains("9999"), "{why}");
}

#[actix_web::test]
async fn postgres_needs_a_master_key() {
    let output = grantd("postgres://u:secret@127.0.0.1:1/x", &["serve"], "", &[("GRANTD_MASTER_KEY", "")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("GRANTD_MASTER_KEY") && !said.contains("secret"),
        "{said}"
    );
}

#[actix_web::test]
async fn an_admin_password_is_logged_as_ignored_once_there_are_users() {
    let database = Database::sqlite();
    let logged = || {
        let mut server = Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
        server.signal("TERM");
        server.wait();
        let (_, log) = server.kill();
        assert!(!log.contains(ADMIN_PASSWORD));
        log.contains("GRANTD_ADMIN_PASSWORD is ignored") && log.contains("grantd user passwd NAME")
    };
    assert!(!logged(), "the first start uses it");
    assert!(logged());
}

#[actix_web::test]
async fn a_missing_or_damaged_key_file_is_not_replaced() {
    let database = Database::sqlite();
    Grantd::start(database.url(), &[]).kill();
    let key = database.directory().join("master.key");
    let kept = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let refused = |what: &str| {
        let output = grantd(database.url(), &["serve"], "", &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("GRANTD_MASTER_KEY"), "{what}: {said}");
        assert!(said.contains("master.key"), "{what}: {said}");
    };
    refused("missing");
    assert!(!key.exists());
    fs::write(&key, &kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused("readable by everybody");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, &kept[..kept.len() / 2]).unwrap();
    refused("truncated");
    fs::write(&key, &kept).unwrap();
    Grantd::start(database.url(), &[]);
}

#[actix_web::test]
async fn a_new_database_beside_a_key_is_created_with_a_warning() {
    let database = Database::sqlite();
    let warning = || {
        let mut server = Grantd::start(database.url(), &[]);
        server.signal("TERM");
        server.wait();
        let log = server.kill().1;
        log.lines().find(|line| line.contains("a new database was created beside it")).map(str::to_owned)
    };
    assert_eq!(warning(), None, "the key is new too");
    assert_eq!(warning(), None, "the database is there");
    let key = database.directory().join("master.key");
    let kept = fs::read_to_string(&key).unwrap();
    fs::remove_file(database.directory().join("grantd.db")).unwrap();
    let warning = warning().expect("it is logged");
    assert!(warning.contains("\"WARN\"") && warning.contains(&key.display().to_string()), "{warning}");
    assert_eq!(fs::read_to_string(&key).unwrap(), kept);
}

#[actix_web::test]
async fn a_public_address_is_refused_without_tls() {
    let database = Database::sqlite();
    let public = ["--listen", "0.0.0.0:0", "--issuer", "https://id.example"];
    let why = refusal(&database, &public).await;
    assert!(why.contains("GRANTD_LISTEN") && why.contains("GRANTD_ALLOW_INSECURE"), "{why}");
    let why = refusal(&database, &["--listen", "[::]:0"]).await;
    assert!(why.contains("GRANTD_ISSUER") && why.contains("GRANTD_LISTEN"), "both at once: {why}");
    for accepted in [&["--trusted-proxies", "10.0.0.0/8"][..], &["--allow-insecure"]] {
        config(database.url(), &[&public[..], accepted].concat()).unwrap();
    }
}

#[actix_web::test]
async fn errors_name_the_setting_that_cannot_be_used() {
    let database = Database::sqlite();
    let taken = TestServer::start(Database::sqlite()).await;
    let address = taken.url().trim_start_matches("http://").to_owned();
    let why = refusal(&database, &["--listen", &address]).await;
    assert!(why.contains("GRANTD_LISTEN") && why.contains(&address), "{why}");
    assert!(why.contains("already in use") && why.contains("--listen"), "{why}");

    let missing = database.directory().join("missing.pem").display().to_string();
    let why = refusal(&database, &["--tls-cert", &missing, "--tls-key", &missing]).await;
    assert!(why.contains("GRANTD_TLS"), "{why}");

    // A file that is not a database, a directory that cannot be created, and an unreachable Postgres.
    let file = database.directory().join("file");
    fs::write(&file, "this is no database, and longer than the head of one would be: ".repeat(20)).unwrap();
    for url in [format!("sqlite://{}", file.display()), format!("sqlite://{}/below/grantd.db", file.display())] {
        let clock = grantd::clock::Clock::manual(beginning());
        let why = TestServer::on(&url, &[], clock).await.err().unwrap();
        assert!(why.contains("DATABASE_URL") && why.contains("/file"), "{why}");
        assert!(!why.contains("code:"), "{why}");
        assert!(url.contains("/below/") || why.contains("is not a SQLite database"), "{why}");
    }
    let clock = grantd::clock::Clock::manual(beginning());
    let away = TestServer::on("postgres://u:secret@127.0.0.1:1/x", &["--database-timeout", "1s"], clock).await;
    let why = away.err().unwrap();
    assert!(why.contains("DATABASE_URL") && why.contains("127.0.0.1:1") && !why.contains("secret"), "{why}");
}

#[actix_web::test]
async fn signals_stop_the_server_after_running_requests() {
    for signal in ["TERM", "INT"] {
        let database = Database::sqlite();
        let slow = [
            ("GRANTD_HASH_MEMORY", "64MiB"),
            ("GRANTD_HASH_ITERATIONS", "4"),
            ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ];
        let mut server = Grantd::start(database.url(), &slow);
        let login = server.request("POST", "/token").form(&crate::harness::Form::admin());
        let under_way = tokio::spawn(login.send());
        let audit = "SELECT count(*) FROM audit_events WHERE kind = 'signing_key.created'";
        eventually("the database is set up", async || database.number(audit).await == 1).await;
        // After this response, the server has accepted the earlier request.
        assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
        server.signal(signal);
        assert_eq!(under_way.await.unwrap().status, 200);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        // The write-ahead log is empty.
        let wal: PathBuf = database.directory().join("grantd.db-wal");
        let left = fs::metadata(&wal).map_or(0, |wal| wal.len());
        assert_eq!(left, 0, "{}", server.kill().1);
    }
}
