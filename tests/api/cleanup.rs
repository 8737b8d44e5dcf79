//! Cleanup deletes expired rows, and no others.

use chrono::Duration;
use grantd::{
    audit::{self, Event, Kind, Origin},
    cleanup,
    sessions::Sweep,
};

use crate::harness::{Database, Form, PASSWORD, TestServer, on_both_engines};

on_both_engines!(expired_rows_are_deleted, deletions_are_batched, old_audit_events_are_deleted);

async fn sweep(server: &TestServer) -> bool {
    server
        .within(async |app, now| {
            cleanup::sweep(&app.store, &mut Sweep::default(), &app.throttle, app.config.audit.retention, now)
                .await
                .unwrap()
                .more
        })
        .await
}

async fn count(server: &TestServer, table: &str) -> i64 {
    server.database().number(&format!("SELECT count(*) FROM {table}")).await
}

async fn expired_rows_are_deleted(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let login = async || server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let ended = login().await;
    let idle = login().await;
    let form = Form::of(&[("token", ended["access_token"].as_str().unwrap())]);
    server.request("POST", "/revoke").form(&form).send().await;
    assert!(!sweep(&server).await);
    assert_eq!((count(&server, "sessions").await, count(&server, "revocations").await), (2, 1));
    // The last access token of the ended session has expired.
    server.advance(Duration::minutes(16));
    sweep(&server).await;
    assert_eq!((count(&server, "sessions").await, count(&server, "revocations").await), (1, 1));
    server.advance(Duration::days(29));
    let used = login().await;
    sweep(&server).await;
    assert_eq!((count(&server, "sessions").await, count(&server, "revocations").await), (2, 0));
    server.advance(Duration::days(1) + Duration::minutes(16));
    sweep(&server).await;
    assert_eq!(count(&server, "sessions").await, 1);
    let refresh = |body: &serde_json::Value| {
        Form::of(&[("grant_type", "refresh_token"), ("refresh_token", body["refresh_token"].as_str().unwrap())])
    };
    server.token(&refresh(&used)).send().await.json_with(200);
    // The reuse of a token of a deleted session is not reported.
    server.token(&refresh(&idle)).send().await.oauth_error(400, "invalid_grant");
    assert_eq!(count(&server, "audit_events WHERE kind = 'refresh_token.reused'").await, 0);
}

async fn deletions_are_batched(database: Database) {
    let server = TestServer::start(database).await;
    server.admin().await;
    let id = if server.database().is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    let many = format!(
        "INSERT INTO sessions (id, user_id, client_id, secret, counter, created_at, last_used_at, idle_expires_at, expires_at, \
         access_expires_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
         SELECT {id}, user_id, client_id, secret, 0, created_at, created_at, created_at, created_at, created_at FROM sessions, n"
    );
    server.database().execute(&many).await.unwrap();
    server.advance(Duration::minutes(16));
    let left = server
        .within(async |app, now| {
            let mut sessions = Sweep::default();
            let mut windows = 1;
            while cleanup::sweep(&app.store, &mut sessions, &app.throttle, app.config.audit.retention, now)
                .await
                .unwrap()
                .more
            {
                windows += 1;
            }
            windows
        })
        .await;
    assert_eq!((left, count(&server, "sessions").await), (3, 1));
}

async fn old_audit_events_are_deleted(database: Database) {
    // A scheduled rotation of the signing key would record an event of its own.
    let server = TestServer::with(database, &["--audit-retention", "30d", "--signing-key-ttl", "365d"]).await;
    let before = count(&server, "audit_events").await;
    server
        .within(async |app, now| {
            let record = app.store.transact(async |conn| {
                for n in 0..500 {
                    let event = Event::success(Kind::UserChanged).details(serde_json::json!({"n": n}));
                    audit::record(conn, event, &Origin::system(), now + Duration::milliseconds(n)).await?;
                }
                Ok::<_, grantd::error::Error>(())
            });
            record.await.unwrap();
        })
        .await;
    sweep(&server).await;
    assert_eq!(count(&server, "audit_events").await, before + 500);
    // In batches, the oldest first. Those of the last 30 days are kept.
    server.advance(Duration::days(30) + Duration::milliseconds(450));
    assert!(sweep(&server).await);
    assert_eq!(count(&server, "audit_events").await, before + 300);
    while sweep(&server).await {}
    assert_eq!(count(&server, "audit_events").await, 50);
    let oldest = if server.database().is_postgres() { "details::json->>'n'" } else { "details->>'n'" };
    let oldest = format!("SELECT min(CAST({oldest} AS bigint)) FROM audit_events");
    assert_eq!(server.database().number(&oldest).await, 450);
}
