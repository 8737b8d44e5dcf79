//! `grantd audit`: the audit log.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use clap::Subcommand;

use super::{
    Outcome,
    output::{self, Output},
    value,
};
use crate::{
    app::App,
    audit::{self, Difference, Filter, Found, Kind, Recorded, Report},
    ids::UserId,
    store::{StoreError, pages::PAGE},
    users,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List audit events, newest first
    List {
        /// Only events with this actor: the id of a user or client
        #[arg(long, value_name = "ID")]
        actor: Option<String>,
        /// Only events with this subject: the id of a user, client or key, or the name of a role or scope
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// Only events of this kind, such as `login.failed`
        #[arg(long, value_parser = value::<Kind>)]
        kind: Option<Kind>,
        /// Only events at or after this time, such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<DateTime<Utc>>,
        /// Maximum number of events
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Verify the audit log against its seals: exit code 1 if a sealed event was changed, added or removed
    Verify,
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    match command {
        Command::List { actor, subject, kind, since, limit } => {
            list(app, output, &Filter { actor, subject, kind, since }, limit).await
        }
        Command::Verify => verify(app, output).await,
    }
}

async fn list(app: &App, output: Output, filter: &Filter, limit: u32) -> Outcome {
    let mut left = i64::from(limit);
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let page = audit::list(&app.store, filter, events.last().map(|last| last.id), left.min(PAGE)).await?;
        left -= i64::try_from(page.len())?;
        let is_last = page.is_empty() || left == 0;
        events.extend(page);
        if is_last {
            break;
        }
    }
    let head = ["at", "kind", "outcome", "actor", "subject", "client_id", "address", "details"];
    let names = if output.json { HashMap::new() } else { usernames(app, &events).await? };
    output.table("events", &events, &head, events.iter().map(|event| row(event, &names)))
}

/// Parses a time; clap's error names the flag.
fn since(text: &str) -> Result<DateTime<Utc>, String> {
    audit::since(text).map_err(|error| error.message)
}

/// Returns the usernames of the actors and subjects that are users, by id. Deleted users have none.
async fn usernames(app: &App, events: &[Recorded]) -> Result<HashMap<String, String>, StoreError> {
    let ids: HashSet<&String> = events.iter().flat_map(|event| [&event.actor, &event.subject]).flatten().collect();
    let (mut conn, mut names) = (app.store.read().await?, HashMap::new());
    for id in ids {
        let Some(user) = UserId::parse(id) else { continue };
        if let Some(user) = users::read(&mut conn, user).await? {
            names.insert(id.clone(), user.username.to_string());
        }
    }
    Ok(names)
}

fn row(event: &Recorded, names: &HashMap<String, String>) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let with_name = |id: &Option<String>| match id.as_ref().and_then(|id| names.get(id)) {
        Some(name) => format!("{name} ({})", text(id)),
        None => text(id),
    };
    let details = event.details.iter().map(|(name, value)| format!("{name}={value}"));
    let request = event.request_id.iter().map(|id| format!("request_id={id}"));
    let actor = if by_operator(event) { "command line".to_owned() } else { with_name(&event.actor) };
    vec![
        output::time(event.at),
        event.kind.clone(),
        event.outcome.as_str().to_owned(),
        actor,
        with_name(&event.subject),
        text(&event.client_id),
        text(&event.address),
        details.chain(request).collect::<Vec<_>>().join(" "),
    ]
}

/// Whether the event was caused without a request: on the command line, by a set-up file or at the first start. Those of
/// signing keys cannot be told from the scheduled rotation.
fn by_operator(event: &Recorded) -> bool {
    let has_no_origin = event.actor.is_none() && event.address.is_none() && event.request_id.is_none();
    has_no_origin && !event.kind.starts_with("signing_key.")
}

async fn verify(app: &App, output: Output) -> Outcome {
    let now = app.now();
    let report = audit::verify(&app.store, &app.seal_key, now).await?;
    if output.json {
        output.object(&report)?;
    }
    if !report.differences.is_empty() {
        return Err(differences(&report).into());
    }
    for warning in warnings(&report, now) {
        eprintln!("warning: {warning}");
    }
    if output.json { Ok(()) } else { output::print(&summary(&report, now - app.config.audit.retention)) }
}

/// Describes the differences, a line for each.
fn differences(report: &Report) -> String {
    let line = |difference: &Difference| {
        let (from, to) = (output::time(difference.from), output::time(difference.to));
        let events = difference.events.unwrap_or(1);
        let what = match difference.found {
            Found::Changed => "events were changed".to_owned(),
            Found::Added => format!("{} added", count(events, "event was", "events were")),
            Found::Missing => format!("{} missing", count(events, "event is", "events are")),
            Found::Seal => "the seal is missing or was changed".to_owned(),
        };
        format!("\n  from {from} to {to}: {what}")
    };
    let further = match report.further_differences {
        0 => String::new(),
        further => format!("\n  and {further} more"),
    };
    let lines: String = report.differences.iter().map(line).collect();
    format!("the audit log does not match its seals:{lines}{further}")
}

/// Describes what a changed log could look like, too, although it matches its seals.
fn warnings(report: &Report, now: DateTime<Utc>) -> Vec<String> {
    let late = report.sealed_late.iter().map(|late| {
        let [from, to, at] = [late.from, late.to, late.sealed_at].map(output::time);
        format!("sealed late: events from {from} to {to} were sealed at {at}")
    });
    let mut warnings: Vec<_> = late.collect();
    if report.further_sealed_late > 0 {
        warnings.push(format!("sealed late: {} more", count(report.further_sealed_late, "span", "spans")));
    }
    if let Some(until) = report.sealed_until.filter(|until| *until > now) {
        warnings.push(format!("the seals end in the future ({}): a clock was ahead", output::time(until)));
    }
    if let Some(since) = report.unsealed_since.filter(|_| report.unsealed_overdue) {
        let since = output::time(since);
        warnings.push(format!("events since {since} are not sealed: no server seals them, or the seals were removed"));
    }
    if report.unsealed_ahead > 0 {
        let events = count(report.unsealed_ahead, "unsealed event has an id", "unsealed events have ids");
        warnings.push(format!("{events} of the future: a clock was ahead, or somebody added events"));
    }
    warnings
}

/// Describes a log that matches its seals. `cutoff`: retention removes events before this time.
fn summary(report: &Report, cutoff: DateTime<Utc>) -> String {
    let mut lines = Vec::new();
    match report.sealed_until {
        Some(until) => {
            let (events, seals) = (count(report.sealed, "event", "events"), count(report.seals, "seal", "seals"));
            lines.push(format!(
                "All sealed events are there and unchanged: {events} in {seals}, until {}.",
                output::time(until)
            ));
        }
        None => lines.push("No events are sealed.".to_owned()),
    }
    lines.push(match report.unsealed_since {
        Some(since) => {
            let events = count(report.unsealed, "event is", "events are");
            format!("{events} not sealed yet, since {}.", output::time(since))
        }
        None => "0 events are not sealed yet.".to_owned(),
    });
    lines.extend(report.sealed_since.map(|since| format!("Sealed since {}.", output::time(since))));
    if let Some(before) = report.removed_before {
        lines.push(format!("Events before {} were removed by retention.", output::time(before)));
        if before > cutoff {
            lines.push(
                "That is less than GRANTD_AUDIT_RETENTION ago: the setting was shorter before, or somebody removed them."
                    .to_owned(),
            );
        }
    }
    lines.join("\n")
}

fn count(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
