//! What happened, in a table that the server only ever adds to: who did what, on whom, from where.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    ids::EventId,
    store::{Conn, StoreError, run},
};

const INSERT: &str = "INSERT INTO audit_events \
     (id, at, kind, outcome, actor, subject, client_id, address, request_id, details) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Who caused an event, and from where.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// A user's or client's id; `None`: nobody known, or the command line.
    pub actor: Option<String>,
    /// The client that it went through.
    pub client_id: Option<String>,
    /// The end user's address.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

impl Origin {
    /// The command line, and the server by itself.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }
}

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    kind: &'static str,
    outcome: &'static str,
    subject: Option<String>,
    details: Value,
}

impl Event {
    /// Something that was done.
    #[must_use]
    pub fn success(kind: &'static str) -> Self {
        Self { kind, outcome: "success", subject: None, details: json!({}) }
    }

    /// Something that was tried.
    #[must_use]
    pub fn failure(kind: &'static str) -> Self {
        Self { kind, outcome: "failure", subject: None, details: json!({}) }
    }

    /// Whom or what it was done to: an id or a name.
    #[must_use]
    pub fn subject(mut self, subject: &impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// More, as an object. Never a secret.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

/// Adds an event: over the connection of the change that it tells of, so that there is neither without the other.
pub async fn record(conn: &mut Conn, event: Event, origin: &Origin, now: DateTime<Utc>) -> Result<(), StoreError> {
    run::execute!(
        conn,
        INSERT,
        EventId::new(now),
        now,
        event.kind,
        event.outcome,
        origin.actor.as_deref(),
        event.subject.as_deref(),
        origin.client_id.as_deref(),
        origin.address.as_deref(),
        origin.request_id.as_deref(),
        event.details.to_string()
    )?;
    Ok(())
}
