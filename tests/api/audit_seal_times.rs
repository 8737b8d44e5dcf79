//! Seals of the audit log that were made late, and those of a server whose clock was ahead.

use chrono::Duration;
use grantd::audit::Late;
use serde_json::{Value, json};

use crate::{
    audit_seals::{command, is_whole, literal, record, seal, span, start, text, three_spans, verify},
    harness::{Database, MASTER_KEY, beginning, on_both_engines},
};

on_both_engines!(
    a_log_that_was_sealed_again_is_reported,
    events_after_a_pause_are_not_late,
    a_clock_that_was_ahead_seals_what_follows,
    a_clock_that_was_ahead_leaves_its_events_unsealed,
    ids_of_the_future_do_not_pull_the_chain,
);

async fn a_log_that_was_sealed_again_is_reported(database: Database) {
    let server = three_spans(database).await;
    let report = verify(&server).await;
    assert_eq!((report.sealed_since, report.sealed_late), (Some(beginning() + Duration::minutes(2)), vec![]));
    server.advance(Duration::hours(3) - Duration::minutes(6));
    seal(&server).await;
    // The last event of the three spans waited for three hours.
    let pause = Late {
        from: beginning() + Duration::minutes(6),
        to: beginning() + Duration::hours(3) - Duration::seconds(30),
        sealed_at: beginning() + Duration::hours(3),
    };
    assert_eq!(verify(&server).await.sealed_late, [pause]);

    let count = server.database().number("SELECT count(*) FROM audit_events").await;
    for forgery in ["UPDATE audit_events SET actor = 'somebody'", "DELETE FROM audit_seals"] {
        server.database().execute(forgery).await.unwrap();
    }
    let report = verify(&server).await;
    assert_eq!((report.sealed_since, report.unsealed, report.unsealed_overdue), (None, count, true));
    let said = command(&server, &[], MASTER_KEY);
    let warning =
        "warning: events since 2026-01-31T12:00:00Z are not sealed: no server seals them, or the seals were removed\n";
    assert_eq!((said.status.code(), text(&said.stderr)), (Some(0), warning.to_owned()));
    server.advance(Duration::minutes(1));
    seal(&server).await;
    assert_eq!(is_whole(&server).await, (count, 0));
    let said = command(&server, &[], MASTER_KEY);
    let warning = "warning: sealed late: events from 2026-01-31T12:00:00Z to 2026-01-31T15:00:30Z were sealed at 2026-01-31T15:01:00Z\n";
    assert_eq!((said.status.code(), text(&said.stderr)), (Some(0), warning.to_owned()));
    assert!(text(&said.stdout).contains("\nSealed since 2026-01-31T15:01:00Z."), "{said:?}");
    let said = command(&server, &["--json"], MASTER_KEY);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let late =
        json!({"from": "2026-01-31T12:00:00Z", "to": "2026-01-31T15:00:30Z", "sealed_at": "2026-01-31T15:01:00Z"});
    assert_eq!(report["sealed_late"], json!([late]));
    assert_eq!((&report["sealed_since"], &report["seals"]), (&late["sealed_at"], &json!(1)));
}

async fn events_after_a_pause_are_not_late(database: Database) {
    let server = start(database, &[]).await;
    server.advance(Duration::hours(12));
    span(&server).await;
    let report = verify(&server).await;
    assert_eq!((report.sealed_late, report.unsealed_overdue), (vec![], false));
}

/// No key is rotated meanwhile, which would be an event.
const NO_ROTATION: [&str; 2] = ["--signing-key-ttl", "365d"];
const AHEAD: Duration = Duration::days(300);

async fn a_clock_that_was_ahead_seals_what_follows(database: Database) {
    let server = start(database, &NO_ROTATION).await;
    let (before, _) = is_whole(&server).await;
    // An event from before the jump is due in it.
    record(&server, 1, server.clock.now()).await;
    server.advance(AHEAD);
    record(&server, 2, server.clock.now()).await;
    seal(&server).await;
    record(&server, 2, server.clock.now() + Duration::seconds(20)).await;
    server.advance(-AHEAD);
    // The first ones get ids after the newest span. So do those that follow, minute after minute.
    for round in 1..=3 {
        record(&server, 5, server.clock.now()).await;
        server.advance(Duration::minutes(1));
        seal(&server).await;
        assert_eq!(is_whole(&server).await, (before + 5 + 5 * round, 0));
    }
    let report = verify(&server).await;
    assert!(report.sealed_until.unwrap() > server.clock.now() + Duration::days(299), "{report:?}");
    // Nothing but the event from before the jump was sealed late.
    assert_eq!(report.sealed_late.len(), 1, "{report:?}");
    // Once that time has come, all is as before.
    server.advance(AHEAD + Duration::hours(1));
    span(&server).await;
    assert_eq!(is_whole(&server).await, (before + 23, 0));
    assert!(verify(&server).await.sealed_until.unwrap() < server.clock.now());
    // Spans are still complete and protected.
    let one = "DELETE FROM audit_events WHERE id = (SELECT id FROM audit_events ORDER BY id DESC LIMIT 1 OFFSET 5)";
    assert_eq!(server.database().execute(one).await.unwrap(), 1);
    assert!(!verify(&server).await.differences.is_empty());
}

async fn a_clock_that_was_ahead_leaves_its_events_unsealed(database: Database) {
    let server = start(database, &NO_ROTATION).await;
    let (before, _) = is_whole(&server).await;
    server.advance(AHEAD);
    record(&server, 2, server.clock.now()).await;
    server.advance(-AHEAD);
    span(&server).await;
    assert_eq!(is_whole(&server).await, (before + 3, 2));
    let report = verify(&server).await;
    assert_eq!((report.unsealed_ahead, report.unsealed_overdue), (2, false));
    server.advance(AHEAD);
    seal(&server).await;
    assert_eq!((is_whole(&server).await, verify(&server).await.sealed_late), ((before + 5, 0), vec![]));
}

async fn ids_of_the_future_do_not_pull_the_chain(database: Database) {
    let server = start(database, &NO_ROTATION).await;
    let (before, _) = is_whole(&server).await;
    server.advance(Duration::hours(12));
    record(&server, 1, server.clock.now()).await;
    server.advance(Duration::minutes(2));
    seal(&server).await;
    server.advance(-Duration::hours(12));
    let id = literal(server.database(), grantd::ids::EventId::first_of(beginning() + Duration::days(9999)));
    let columns = "at, kind, outcome, details";
    let insert = format!("INSERT INTO audit_events (id, {columns}) SELECT {id}, {columns} FROM audit_events LIMIT 1");
    server.database().execute(&insert).await.unwrap();
    span(&server).await;
    assert_eq!((is_whole(&server).await, verify(&server).await.unsealed_ahead), ((before + 4, 1), 1));
}
