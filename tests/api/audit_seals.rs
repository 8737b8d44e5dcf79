//! Seals of the audit log: what is changed, added or removed afterwards is found, and what happens late is not taken for it.

use std::process::Output;

use chrono::{DateTime, Duration, Utc};
use grantd::{
    audit::{self, Event, Found, Kind, Origin, Progress, Report, Sealer},
    cleanup,
    error::Error,
    ids::EventId,
    sessions::Sweep,
};
use serde_json::{Value, json};

use crate::harness::{Database, MASTER_KEY, TestServer, Transaction, beginning, grantd, on_both_engines};

on_both_engines!(
    events_are_sealed_within_two_minutes,
    what_is_changed_added_or_removed_is_found,
    changed_seals_are_found,
    retention_removes_whole_spans,
    several_servers_seal_at_once,
    open_transactions_are_waited_for,
    late_events_join_a_later_span,
    a_rewrap_keeps_the_key,
    events_from_before_the_upgrade_are_sealed,
);

/// A server on an empty database, whose first span has the events of the first start and is sealed.
pub(crate) async fn start(database: Database, flags: &[&str]) -> TestServer {
    let server = TestServer::with(database, flags).await;
    span(&server).await;
    server
}

/// Records three events, and seals everything two minutes later.
pub(crate) async fn span(server: &TestServer) {
    record(server, 3, server.clock.now()).await;
    server.advance(Duration::minutes(2));
    seal(server).await;
}

/// Records this many events, a millisecond apart.
pub(crate) async fn record(server: &TestServer, count: i64, from: DateTime<Utc>) {
    let record = server.within(async move |app, _| {
        let record = app.store.transact(async |tx| {
            for n in 0..count {
                let event = Event::success(Kind::UserChanged).details(json!({"n": n}));
                audit::record(tx, event, &Origin::system(), from + Duration::milliseconds(n)).await?;
            }
            Ok::<_, Error>(())
        });
        record.await.unwrap();
    });
    record.await;
}

/// Seals what is due, as the server does once a minute.
pub(crate) async fn seal(server: &TestServer) {
    let seal = server.within(async |app, _| {
        let mut sealer = Sealer::default();
        while sealer.step(&app.store, &app.seal_key, &app.clock).await.unwrap() != Progress::Done {}
    });
    seal.await;
}

pub(crate) async fn verify(server: &TestServer) -> Report {
    server.within(async |app, now| audit::verify(&app.store, &app.seal_key, now).await.unwrap()).await
}

/// Verifies a log without differences, and returns the number of events that are sealed and of those that are not.
pub(crate) async fn is_whole(server: &TestServer) -> (i64, i64) {
    let report = verify(server).await;
    assert!(report.differences.is_empty(), "{report:?}");
    let all = server.database().number("SELECT count(*) FROM audit_events").await;
    assert!(report.sealed + report.unsealed <= all, "{report:?}");
    (report.sealed, report.unsealed)
}

pub(crate) fn command(server: &TestServer, arguments: &[&str], key: &str) -> Output {
    grantd(server.database().url(), &[&["audit", "verify"], arguments].concat(), "", &[("GRANTD_MASTER_KEY", key)])
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An id in SQL.
pub(crate) fn literal(database: &Database, id: EventId) -> String {
    if database.is_postgres() { format!("'{id}'::uuid") } else { format!("x'{}'", id.to_string().replace('-', "")) }
}

/// The lowest id of a time after the start of the clock.
fn id_at(database: &Database, after: Duration) -> String {
    literal(database, EventId::first_of(beginning() + after))
}

async fn events_are_sealed_within_two_minutes(database: Database) {
    let server = TestServer::start(database).await;
    let events = server.database().number("SELECT count(*) FROM audit_events").await;
    seal(&server).await;
    assert_eq!(is_whole(&server).await, (0, events));
    let said = command(&server, &[], MASTER_KEY);
    assert!(said.status.success(), "{said:?}");
    let expected = format!("No events are sealed.\n{events} events are not sealed yet, since 2026-01-31T12:00:00Z.\n");
    assert_eq!(text(&said.stdout), expected);
    // The server seals once a minute. An event that is too young the first time is sealed the second time.
    server.advance(Duration::seconds(29));
    seal(&server).await;
    server.advance(Duration::seconds(60));
    seal(&server).await;
    assert_eq!(is_whole(&server).await, (events, 0));
    seal(&server).await;
    server.admin().await;
    assert_eq!(is_whole(&server).await, (events, 1));
    let said = command(&server, &[], MASTER_KEY);
    let expected = format!(
        "All sealed events are there and unchanged: {events} events in 1 seal, until 2026-01-31T12:00:59Z.\n\
         1 event is not sealed yet, since 2026-01-31T12:01:29Z.\nSealed since 2026-01-31T12:01:29Z.\n"
    );
    assert_eq!((text(&said.stdout), said.status.code()), (expected, Some(0)));
    let said = command(&server, &["--json"], MASTER_KEY);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (&report["sealed"], &report["unsealed"], &report["differences"]),
        (&json!(events), &json!(1), &json!([]))
    );
    // With another master key there is nothing to verify with.
    let said = command(&server, &[], "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4");
    assert!(said.status.code() == Some(1) && text(&said.stderr).contains("GRANTD_MASTER_KEY"), "{said:?}");
}

async fn restore(database: &Database) {
    let mut restored = Transaction::begin(database).await;
    for table in ["audit_events", "audit_seals"] {
        restored.run(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved_{table}")).await;
    }
    restored.commit().await;
}

/// The differences after a change of the database, with the seconds in which the spans begin and end; then everything is as before.
async fn after(server: &TestServer, change: &str) -> Vec<(Found, Option<i64>, i64, i64)> {
    assert!(server.database().execute(change).await.unwrap() > 0, "{change}");
    let report = verify(server).await;
    restore(server.database()).await;
    is_whole(server).await;
    let second = |time: DateTime<Utc>| (time - beginning()).num_seconds().max(0);
    report.differences.iter().map(|one| (one.found, one.events, second(one.from), second(one.to))).collect()
}

/// Three spans, which end after 90, 210 and 330 seconds, and a copy of both tables.
pub(crate) async fn three_spans(database: Database) -> TestServer {
    let server = start(database, &[]).await;
    span(&server).await;
    span(&server).await;
    record(&server, 1, server.clock.now()).await;
    for table in ["audit_events", "audit_seals"] {
        server.database().execute(&format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await.unwrap();
    }
    server
}

async fn what_is_changed_added_or_removed_is_found(database: Database) {
    let server = three_spans(database).await;
    let database = server.database();
    let at = |seconds: i64| id_at(database, Duration::seconds(seconds));
    let second = format!("id > {} AND id < {}", at(90), at(210));
    let newest = format!("id = (SELECT id FROM audit_events WHERE {second} ORDER BY id DESC LIMIT 1)");
    for changed in [
        "details = '{}'",
        "details = '{\"n\": 2}'",
        "kind = 'user.created'",
        "outcome = 'failure'",
        "actor = ''",
        "subject = 'x'",
        "client_id = 'x'",
        "address = 'x'",
        "request_id = 'x'",
        "at = (SELECT max(at) FROM audit_events)",
    ] {
        let found = after(&server, &format!("UPDATE audit_events SET {changed} WHERE {newest}")).await;
        assert_eq!(found, [(Found::Changed, None, 90, 210)], "{changed}");
    }
    if !database.is_postgres() {
        let found = after(&server, &format!("UPDATE audit_events SET at = 'yesterday' WHERE {newest}")).await;
        assert_eq!(found, [(Found::Changed, None, 90, 210)]);
    }
    let found = after(&server, &format!("DELETE FROM audit_events WHERE {newest}")).await;
    assert_eq!(found, [(Found::Missing, Some(1), 90, 210)]);
    let found = after(&server, &format!("DELETE FROM audit_events WHERE {second}")).await;
    assert_eq!(found, [(Found::Missing, Some(3), 90, 210)]);
    // In another span.
    let found = after(&server, &format!("UPDATE audit_events SET id = {} WHERE {newest}", at(300))).await;
    assert_eq!(found, [(Found::Missing, Some(1), 90, 210), (Found::Added, Some(1), 210, 330)]);
    // At the end, where no server has sealed anything yet.
    let found = after(&server, &format!("UPDATE audit_events SET id = {} WHERE {newest}", at(350))).await;
    assert_eq!(found, [(Found::Missing, Some(1), 90, 210)]);
    let columns = "at, kind, outcome, actor, subject, client_id, address, request_id, details";
    let add = |id: &str| {
        format!("INSERT INTO audit_events (id, {columns}) SELECT {id}, {columns} FROM audit_events WHERE {newest}")
    };
    for (id, from, to) in [(0, 0, 90), (89, 0, 90), (100, 90, 210), (205, 90, 210), (329, 210, 330)] {
        assert_eq!(after(&server, &add(&at(id))).await, [(Found::Added, Some(1), from, to)], "{id}");
    }
    // An id that no server gives and no seal would ever cover, such as a random one.
    let found = after(&server, &add(&literal(database, EventId::from([0xf7; 16])))).await;
    assert_eq!(found, [(Found::Added, Some(1), 330, 360)]);

    database.execute(&format!("DELETE FROM audit_events WHERE {newest}")).await.unwrap();
    let line = "from 2026-01-31T12:01:30Z to 2026-01-31T12:03:30Z: 1 event is missing";
    let said = command(&server, &[], MASTER_KEY);
    let expected = format!("error: the audit log does not match its seals:\n  {line}\n");
    assert_eq!((said.status.code(), text(&said.stderr), text(&said.stdout)), (Some(1), expected, String::new()));
    let said = command(&server, &["--json"], MASTER_KEY);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let difference =
        json!({"found": "missing", "events": 1, "from": "2026-01-31T12:01:30Z", "to": "2026-01-31T12:03:30Z"});
    assert_eq!((said.status.code(), &report["differences"]), (Some(1), &json!([difference])));
}

async fn changed_seals_are_found(database: Database) {
    let server = three_spans(database).await;
    let of = |number: i64, column: &str| format!("(SELECT {column} FROM audit_seals WHERE number = {number})");
    for column in ["digest", "previous", "mac", "events", "sealed_at"] {
        let other = if column == "events" { "1".to_owned() } else { of(1, column) };
        let found = after(&server, &format!("UPDATE audit_seals SET {column} = {other} WHERE number = 2")).await;
        // The seal after it names the MAC of this one.
        let to = if column == "mac" { 330 } else { 210 };
        assert_eq!(found, [(Found::Seal, None, 90, to)], "{column}");
    }
    let end = id_at(server.database(), Duration::seconds(209));
    let found = after(&server, &format!("UPDATE audit_seals SET last_id = {end} WHERE number = 2")).await;
    assert!(found.contains(&(Found::Seal, None, 90, 209)), "{found:?}");
    // A seal that is missing, and one that is not sealed although others follow.
    for change in ["DELETE FROM audit_seals WHERE number = 2", "UPDATE audit_seals SET mac = NULL WHERE number = 2"] {
        assert_eq!(after(&server, change).await, [(Found::Seal, None, 90, 330)], "{change}");
    }
    // Seals that were made with the key of another database.
    server.database().execute("DELETE FROM server_keys WHERE name = 'audit seal'").await.unwrap();
    let said = command(&server, &[], MASTER_KEY);
    let line = "from 1970-01-01T00:00:00Z to 2026-01-31T12:05:30Z: the seal is missing or was changed";
    let expected = format!("error: the audit log does not match its seals:\n  {line}\n");
    assert_eq!((said.status.code(), text(&said.stderr)), (Some(1), expected));
}

async fn sweep(server: &TestServer) -> bool {
    let sweep = server.within(async |app, now| {
        cleanup::sweep(&app.store, &mut Sweep::default(), &app.throttle, app.config.audit.retention, now)
            .await
            .unwrap()
            .more
    });
    sweep.await
}

async fn retention_removes_whole_spans(database: Database) {
    // No key is rotated meanwhile, which would be an event.
    let server = start(database, &["--audit-retention", "30d", "--signing-key-ttl", "365d"]).await;
    let count = async || server.database().number("SELECT count(*) FROM audit_events").await;
    let first = count().await;
    span(&server).await;
    record(&server, 450, server.clock.now()).await;
    server.advance(Duration::minutes(2));
    seal(&server).await;
    assert_eq!(is_whole(&server).await, (first + 453, 0));
    // All events of the first span are old, and those of the second one; it has not ended before the cutoff.
    server.advance(Duration::days(30) - Duration::minutes(6) + Duration::seconds(200));
    while sweep(&server).await {
        is_whole(&server).await;
    }
    assert_eq!((count().await, is_whole(&server).await), (453, (453, 0)));
    assert_eq!(verify(&server).await.removed_before, Some(beginning() + Duration::seconds(90)));
    // In batches, and whole in between.
    server.advance(Duration::seconds(200));
    let mut left = vec![count().await];
    while sweep(&server).await {
        is_whole(&server).await;
        left.push(count().await);
    }
    left.push(count().await);
    left.dedup();
    assert_eq!(left, [453, 450, 250, 50, 0]);
    assert_eq!(is_whole(&server).await, (0, 0));
    let said = text(&command(&server, &[], MASTER_KEY).stdout);
    assert!(said.contains("Events before 2026-01-31T12:05:30Z were removed by retention."), "{said}");
    // The chain goes on from there.
    span(&server).await;
    assert_eq!(is_whole(&server).await, (3, 0));
    server.database().execute("DELETE FROM audit_events").await.unwrap();
    let report = verify(&server).await;
    assert_eq!(
        report.differences.iter().map(|one| (one.found, one.events)).collect::<Vec<_>>(),
        [(Found::Missing, Some(3))]
    );
}

async fn several_servers_seal_at_once(database: Database) {
    let server = start(database, &[]).await;
    let other = TestServer::on(server.database().url(), &[], server.clock.clone()).await.unwrap();
    for round in 1..=5 {
        record(&server, 10, server.clock.now()).await;
        server.advance(Duration::minutes(2));
        tokio::join!(seal(&server), seal(&other), seal(&server), async {
            other.admin().await;
        });
        let sealed = is_whole(&server).await.0;
        assert!(sealed >= 10 * round, "{sealed}");
        assert_eq!(server.database().number("SELECT max(number) FROM audit_seals").await, round + 1);
    }
}

/// An event of the past in SQL.
fn insert(database: &Database, after: Duration) -> String {
    let columns = "at, kind, outcome, details";
    let id = id_at(database, after);
    format!("INSERT INTO audit_events (id, {columns}) SELECT {id}, {columns} FROM audit_events LIMIT 1")
}

async fn open_transactions_are_waited_for(database: Database) {
    let server = start(database, &[]).await;
    let (before, _) = is_whole(&server).await;
    record(&server, 1, server.clock.now()).await;
    let mut late = Transaction::begin(server.database()).await;
    late.run(&insert(server.database(), Duration::seconds(125))).await;
    if !server.database().is_postgres() {
        // The write lock keeps the span from being closed.
        server.advance(Duration::minutes(2));
        tokio::join!(late.commit(), seal(&server));
        assert_eq!(is_whole(&server).await, (before + 2, 0));
        return;
    }
    server.advance(Duration::minutes(2));
    let step = async |sealer: Sealer| {
        server
            .within(async move |app, _| {
                let mut sealer = sealer;
                let progress = sealer.step(&app.store, &app.seal_key, &app.clock).await.unwrap();
                (sealer, progress)
            })
            .await
    };
    let (sealer, closed) = step(Sealer::default()).await;
    let (sealer, waiting) = step(sealer).await;
    // One that begins now sees that the span is closed, and is not waited for.
    let mut another = Transaction::begin(server.database()).await;
    another.run(&insert(server.database(), Duration::seconds(238))).await;
    let (sealer, still) = step(sealer).await;
    assert_eq!((closed, waiting, still), (Progress::More, Progress::Waiting, Progress::Waiting));
    assert_eq!(is_whole(&server).await, (before, 1));
    late.commit().await;
    let (sealer, done) = step(sealer).await;
    assert_eq!((done, is_whole(&server).await), (Progress::More, (before + 2, 0)));
    another.commit().await;
    assert_eq!((step(sealer).await.1, is_whole(&server).await), (Progress::Done, (before + 2, 1)));
}

async fn late_events_join_a_later_span(database: Database) {
    let server = start(database, &[]).await;
    let (sealed, _) = is_whole(&server).await;
    // As of a request that was paused, or of a server whose clock is behind.
    record(&server, 1, beginning() + Duration::seconds(10)).await;
    record(&server, 1, beginning() + Duration::seconds(20)).await;
    assert_eq!(is_whole(&server).await, (sealed, 2));
    server.advance(Duration::minutes(1));
    seal(&server).await;
    assert_eq!(is_whole(&server).await, (sealed + 2, 0));
    let admin = server.admin().await;
    let events = crate::audit::page(&server, &admin, "kind=user.changed&since=2026-01-31T12:00:10Z").await;
    let times: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.contains(&"2026-01-31T12:00:10Z") && times.contains(&"2026-01-31T12:00:20Z"), "{times:?}");
}

async fn a_rewrap_keeps_the_key(database: Database) {
    let server = start(database, &[]).await;
    crate::master_key::rewrap(server.database());
    // The server with the old master key goes on.
    span(&server).await;
    let said = command(&server, &["--json"], crate::master_key::NEW_KEY);
    assert!(said.status.success(), "{said:?}");
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let sealed = server.database().number("SELECT CAST(sum(events) AS bigint) FROM audit_seals").await;
    // The event of the rewrap has the time of the system.
    assert_eq!((report["sealed"].as_i64(), report["unsealed"].as_i64()), (Some(sealed), Some(1)));
    assert_eq!(report["seals"], 2);
}

async fn events_from_before_the_upgrade_are_sealed(database: Database) {
    let server = TestServer::start(database).await;
    let database = server.database();
    let id = if database.is_postgres() { "lpad(to_hex(n.i), 32, '0')::uuid" } else { "unhex(printf('%032x', n.i))" };
    let which = "r.id = (SELECT s.id FROM audit_events s ORDER BY s.id LIMIT 1)";
    database.copy_row("audit_events", which, 12_000, &[("id", id)]).await;
    let all = database.number("SELECT count(*) FROM audit_events").await;
    assert_eq!(is_whole(&server).await, (0, all));
    server.advance(Duration::minutes(1));
    seal(&server).await;
    assert_eq!((is_whole(&server).await, verify(&server).await.seals), ((all, 0), 2));
    assert_eq!(verify(&server).await.sealed_late.len(), 1);
    let most = database.number("SELECT max(events) FROM audit_seals").await;
    assert_eq!(most, 10_000);
}
