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
    audit::{self, Filter, Kind, Recorded},
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
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let Command::List { actor, subject, kind, since, limit } = command;
    let filter = Filter { actor, subject, kind, since };
    let mut left = i64::from(limit);
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let page = audit::list(&app.store, &filter, events.last().map(|last| last.id), left.min(PAGE)).await?;
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
