//! The audit log: the newest seals, and whether events are sealed.

use chrono::{DateTime, Utc};

use super::{Check::AuditLog, Finding, span};
use crate::{
    audit::{self, Report, SealKey},
    error::Error,
    keys,
    secret::MasterKey,
    store::Store,
};

/// The newest seals that are verified: up to 200,000 events, and the last minutes of most logs.
const SEALS: i64 = 20;
const SUBJECT: &str = "audit log";

pub(super) async fn check(
    store: &Store,
    master_key: Option<&MasterKey>,
    is_running: bool,
    now: DateTime<Utc>,
) -> Result<Vec<Finding>, Error> {
    let Some(master_key) = master_key else { return Ok(Vec::new()) };
    let key = keys::existing_server_key(&mut store.read().await?, master_key, "audit seal").await?;
    // A key that does not open is a finding of the signing keys.
    let Some(key) = key else { return Ok(Vec::new()) };
    let report = audit::verify_newest(store, &SealKey::new(&key), SEALS, now).await?;
    let mut findings = Vec::new();
    findings.extend(differences(&report));
    findings.extend(late(&report));
    findings.extend(overdue(&report, is_running, now));
    if findings.is_empty() {
        findings.push(Finding::ok(AuditLog, SUBJECT, state(&report, now)));
    }
    Ok(findings)
}

fn differences(report: &Report) -> Option<Finding> {
    let first = report.differences.first()?;
    let message = format!(
        "events from {} on were changed, added or removed: the log does not match its newest seals",
        first.from.to_rfc3339()
    );
    let remedy = "Run `grantd audit verify` for all of them; find out who can write to the database (docs/audit.md)";
    Some(Finding::failure(AuditLog, SUBJECT, message, remedy))
}

fn late(report: &Report) -> Option<Finding> {
    let late = report.sealed_late.first()?;
    let message = format!(
        "events from {} on were sealed more than an hour later: until then, they could be changed unnoticed",
        late.from.to_rfc3339()
    );
    let remedy = "Look into the logs of that time: no server ran, or none could write";
    Some(Finding::warning(AuditLog, SUBJECT, message, remedy))
}

/// A server that is stopped seals nothing.
fn overdue(report: &Report, is_running: bool, now: DateTime<Utc>) -> Option<Finding> {
    let since = report.unsealed_since.filter(|_| report.unsealed_overdue && is_running)?;
    let message = format!(
        "{} events are not sealed, the oldest of {} ago, although a server runs: they can be changed unnoticed",
        report.unsealed,
        span(now - since)
    );
    Some(Finding::warning(AuditLog, SUBJECT, message, "Look into the log of the server for errors of the seals"))
}

fn state(report: &Report, now: DateTime<Utc>) -> String {
    let unsealed = match report.unsealed {
        0 => "all events are sealed".to_owned(),
        1 => "1 event is not sealed yet".to_owned(),
        many => format!("{many} events are not sealed yet"),
    };
    match report.sealed_until {
        Some(until) => format!(
            "the newest seals match, until {} ago; {unsealed}",
            span((now - until).max(chrono::TimeDelta::zero()))
        ),
        None => unsealed,
    }
}
