//! `grantd doctor` on databases that are at fault, or whose rows are: each names its fault.

use std::os::unix::fs::PermissionsExt as _;

use crate::{
    doctor::{Audit, Installation, text},
    harness::{Database, MASTER_KEY, eventually, grantd, on_both_engines},
};

on_both_engines!(
    another_master_key,
    a_signing_key_that_is_not_rotated,
    no_administrator_is_left,
    the_first_password_is_still_in_use,
    hashes_of_another_system,
    accounts_that_nobody_uses,
    clients_with_passwords_and_clients_that_nobody_uses,
    migrations_of_another_version,
    a_missing_index,
    a_changed_audit_log,
    a_restart_leaves_no_event_unsealed,
    a_clock_that_was_ahead
);

#[actix_web::test]
async fn a_damaged_file_is_found() {
    let installation = Installation::new(Database::sqlite());
    let sql = "PRAGMA writable_schema = on; UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'users_username_key'";
    installation.database.execute(sql).await.unwrap();
    let audit = installation.audit();
    assert!(audit.with("failure")[0].starts_with("integrity: "), "{:?}", audit.findings);
    assert_eq!(audit.code, Some(1));
}

#[actix_web::test]
async fn rows_that_refer_to_no_row_are_found() {
    let installation = Installation::new(Database::sqlite());
    let sql = "PRAGMA foreign_keys = off; INSERT INTO user_roles (user_id, role) VALUES (randomblob(16), 'admin')";
    installation.database.execute(sql).await.unwrap();
    let said = installation.audit().only("failure", "integrity", "grantd.db");
    assert!(said.contains("user_roles"), "{said}");
}

async fn another_master_key(database: Database) {
    let mut installation = Installation::new(database);
    installation.set("GRANTD_MASTER_KEY", &MASTER_KEY.replace("a2tra2", "eHh4eH"));
    let audit = installation.audit();
    assert_eq!(audit.code, Some(1));
    let failures = audit.with("failure");
    assert!(
        failures.len() == 2 && failures.iter().all(|finding| finding.starts_with("signing-keys: ")),
        "{failures:?}"
    );
    assert!(text(audit.of("signing-keys")[0], "remedy").contains("grantd keys rewrap"));
}

async fn a_signing_key_that_is_not_rotated(database: Database) {
    let installation = Installation::new(database);
    installation.database.execute("UPDATE signing_keys SET not_before = '2025-01-01T00:00:00+00:00'").await.unwrap();
    let said = installation.audit().only("warning", "signing-keys", "");
    assert!(said.contains("signs since 2025-01-01") && said.contains("grantd keys rotate"), "{said}");
    installation.database.execute("DELETE FROM signing_keys").await.unwrap();
    installation.audit().only("failure", "signing-keys", "signing keys");
}

async fn no_administrator_is_left(database: Database) {
    let installation = Installation::new(database);
    installation.database.execute("UPDATE users SET disabled = TRUE").await.unwrap();
    let said = installation.audit().only("failure", "administrators", "users:write");
    assert!(said.contains("--role admin"), "{said}");
    // No users at all: the start of Postgres, which tells how to create the first.
    installation.database.execute("DELETE FROM users").await.unwrap();
    installation.audit().assert_green();
}

async fn the_first_password_is_still_in_use(database: Database) {
    let mut installation = Installation::new(database);
    let run = |arguments: &[&str]| {
        let of_postgres = [("GRANTD_MASTER_KEY", MASTER_KEY)];
        let variables = if installation.database.is_postgres() { &of_postgres[..] } else { &[] };
        let output = grantd(installation.database.url(), arguments, "a password of another user", variables);
        assert!(output.status.success(), "{output:?}");
    };
    // An administrator that no first start created.
    run(&["user", "create", "second", "--role", "admin", "--password-stdin"]);
    let old = "UPDATE audit_events SET at = '2026-01-01T00:00:00+00:00'";
    installation.database.execute(old).await.unwrap();
    // A change of another attribute is none of the password.
    run(&["user", "change", "admin", "--display-name", "Ada"]);
    let said = installation.audit().only("warning", "first-password", "admin");
    assert!(said.contains("2026-01-01") && said.contains("grantd user passwd admin"), "{said}");
    run(&["user", "passwd", "admin", "--password-stdin"]);
    installation.set("GRANTD_ADMIN_USERNAME", "second");
    installation.audit().assert_green();
}

async fn hashes_of_another_system(database: Database) {
    let installation = Installation::new(database);
    installation.database.execute("UPDATE users SET password_hash = '!'").await.unwrap();
    installation.audit().assert_green();
    let hash = "$2b$12$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    installation.database.execute(&format!("UPDATE users SET password_hash = '{hash}'")).await.unwrap();
    let said = installation.audit().only("warning", "password-hashes", "password hashes");
    assert!(said.contains("1 of 1 are of another system") && !said.contains("$2b$"), "{said}");
}

async fn accounts_that_nobody_uses(database: Database) {
    let installation = Installation::new(database);
    let old = "UPDATE users SET created_at = '2020-01-01T00:00:00+00:00'";
    installation.database.execute(old).await.unwrap();
    let said = installation.audit().only("warning", "unused-accounts", "admin");
    assert!(said.contains("grantd user disable"), "{said}");
    installation
        .database
        .copy_row(
            "users",
            "r.username = 'admin'",
            9,
            &[
                ("id", if installation.database.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" }),
                ("username", "'user' || n.i"),
            ],
        )
        .await;
    let said = installation.audit().only("warning", "unused-accounts", "admin, user1, user2, user3, user4, user5, …");
    assert!(said.starts_with("10 enabled"), "{said}");
}

async fn clients_with_passwords_and_clients_that_nobody_uses(database: Database) {
    let installation = Installation::new(database);
    let create = |id: &str, kind: &str, more: &[&str]| {
        let created =
            installation.run(&[&["client", "create", id, "--type", kind, "--grant", "password"], more].concat());
        assert!(created.status.success(), "{created:?}");
    };
    create("app", "public", &[]);
    let said = installation.audit().only("warning", "public-clients", "app");
    assert!(said.contains("confidential"), "{said}");
    assert!(installation.run(&["client", "disable", "app"]).status.success());
    installation.audit().assert_green();
    create("shop", "confidential", &["--token-ttl", "1d"]);
    let said = installation.audit().only("warning", "lifetimes", "client shop");
    assert!(said.contains("grantd client change shop --token-ttl 15m"), "{said}");
    let changed = "UPDATE clients SET access_token_ttl = NULL, created_at = '2020-01-01T00:00:00+00:00' \
                   WHERE client_id <> 'app'";
    installation.database.execute(changed).await.unwrap();
    let said = installation.audit().only("warning", "unused-clients", "default, shop");
    assert!(said.contains("grantd client disable"), "{said}");
}

async fn migrations_of_another_version(database: Database) {
    let installation = Installation::new(database);
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'of a newer grantd', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    installation.database.execute(newer).await.unwrap();
    installation.audit().only("failure", "schema", "9999 of a newer grantd");
    let older = "DELETE FROM _sqlx_migrations WHERE version > 15";
    installation.database.execute(older).await.unwrap();
    installation.database.execute("DROP TABLE throttle").await.unwrap();
    installation.audit().only("warning", "schema", "16 throttle");
    installation.database.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 15").await.unwrap();
    assert!(installation.audit().with("failure").contains(&"schema: 15 firebase keys".to_owned()));
}

async fn a_missing_index(database: Database) {
    let installation = Installation::new(database);
    installation.database.execute("DROP INDEX users_username_key").await.unwrap();
    installation.audit().only("failure", "indexes", "users_username_key");
}

async fn a_changed_audit_log(database: Database) {
    let installation = Installation::new(database);
    // Events of a minute ago: a server seals them at its start.
    let earlier = if installation.database.is_postgres() {
        "UPDATE audit_events SET id = overlay(id::text placing '0190' from 1 for 4)::uuid"
    } else {
        "UPDATE audit_events SET id = unhex('0190' || substr(hex(id), 5))"
    };
    installation.database.execute(earlier).await.unwrap();
    let server = installation.serve();
    let sealed = "SELECT count(*) FROM audit_seals WHERE events > 0 AND mac IS NOT NULL";
    eventually("events are sealed", async || installation.database.number(sealed).await > 0).await;
    drop(server);
    let audit = installation.audit();
    assert_eq!(audit.with("failure").len(), 0, "{:?}", audit.findings);
    installation.database.execute("UPDATE audit_events SET outcome = 'failure'").await.unwrap();
    let failures = installation.audit().with("failure");
    assert_eq!(failures, ["audit-log: audit log"]);
}

async fn a_restart_leaves_no_event_unsealed(database: Database) {
    let installation = Installation::new(database);
    let mut server = installation.serve();
    server.login(crate::harness::ADMIN_PASSWORD).await;
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    let (_, log) = server.kill();
    let audit = installation.audit();
    let said = text(audit.of("audit-log")[0], "message");
    assert!(said.ends_with("all events are sealed"), "{said}\n{log}");
    audit.assert_green();
}

async fn a_clock_that_was_ahead(database: Database) {
    let installation = Installation::new(database);
    let ahead = if installation.database.is_postgres() {
        "UPDATE audit_events SET id = overlay(id::text placing '0290' from 1 for 4)::uuid"
    } else {
        "UPDATE audit_events SET id = unhex('0290' || substr(hex(id), 5))"
    };
    installation.database.execute(ahead).await.unwrap();
    let said = installation.audit().only("failure", "clock", "servers");
    assert!(said.contains("in the future") && said.contains("NTP"), "{said}");
}

#[actix_web::test]
async fn an_index_that_could_not_be_built_is_found() {
    let Some(database) = Database::postgres().await else { return };
    let installation = Installation::new(database);
    let invalid = "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'users_disabled_idx'::regclass";
    installation.database.execute(invalid).await.unwrap();
    let said = installation.audit().only("failure", "indexes", "users_disabled_idx");
    assert!(said.contains("REINDEX"), "{said}");
}

#[actix_web::test]
async fn a_log_of_another_file_is_not_opened() {
    let installation = Installation::new(Database::sqlite());
    let database = installation.database.directory().join("grantd.db");
    std::fs::remove_file(&database).unwrap();
    let log = installation.database.directory().join("grantd.db-wal");
    std::fs::write(&log, "changes of a database").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = installation.audit().only("failure", "database", "grantd.db");
    assert!(said.contains("contains changes of a database, which would be lost"), "{said}");
    assert!(!database.exists());
}

#[actix_web::test]
async fn the_log_of_a_killed_server_stays_as_it_is() {
    let installation = Installation::new(Database::sqlite());
    let server = installation.serve();
    let [database, log] = ["grantd.db", "grantd.db-wal"].map(|name| installation.database.directory().join(name));
    server.login(crate::harness::ADMIN_PASSWORD).await;
    server.kill();
    let state = || [&database, &log].map(|path| std::fs::read(path).unwrap());
    let before = state();
    assert!(!before[1].is_empty());
    let audit = installation.audit();
    audit.assert_green();
    assert!(installation.run(&["migrate", "--dry-run"]).status.success());
    assert!(before == state(), "the database or its log was changed");
    // The login is in the log, and was read.
    assert!(text(audit.of("audit-log")[0], "message").ends_with("not sealed yet"), "{:?}", audit.findings);
}

#[actix_web::test]
async fn a_login_that_may_only_read_suffices() {
    let Some(database) = Database::postgres().await else { return };
    let mut installation = Installation::new(database);
    let url = installation.database.url().to_owned();
    let and = if url.contains('?') { '&' } else { '?' };
    // As `ALTER ROLE … SET` does. The role sees of other sessions no more than that they exist.
    let reader = format!("{url}{and}options[default_transaction_read_only]=on&options[role]=pg_read_all_data");
    let clients = |audit: &Audit| {
        let message = text(audit.of("connections")[0], "message").to_owned();
        message.split(' ').filter_map(|word| word.parse::<i64>().ok()).take(2).sum::<i64>()
    };
    // Other tests come and go.
    for _ in 0..20 {
        installation.set("DATABASE_URL", &reader);
        let of_reader = installation.audit();
        of_reader.assert_green();
        installation.set("DATABASE_URL", &url);
        if clients(&of_reader) == clients(&installation.audit()) {
            return;
        }
    }
    panic!("processes of Postgres itself are counted as clients");
}
