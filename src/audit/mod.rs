//! The audit log: an append-only table of security events, with actor, subject and origin. Events are sealed a minute
//! later (see `seals.rs`), and deleted after the retention period.

mod kind;
pub(crate) mod routes;
mod seals;
pub(crate) mod sql;
mod verify;

use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) use self::verify::verify_newest;
pub use self::{
    kind::Kind,
    seals::{Progress, SealKey, Sealer},
    verify::{Difference, Found, Late, Report, verify},
};
use crate::{
    error::{Code, Error, FieldError},
    ids::{ApiKeyId, EventId},
    store::{Conn, Store, StoreError, conn},
    validation::named_enum,
};

/// The actor and the source of an event.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The id of a user or client; `None`: unknown, or the command line.
    pub actor: Option<String>,
    /// Client of the request.
    pub client_id: Option<String>,
    /// The IP address of the end user.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// How the actor authenticated, unless by an access token of a login.
    pub method: Option<Method>,
}

/// How an actor authenticated, other than by an access token of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// HTTP Basic.
    Basic,
    /// An API key, or an access token that was issued for it.
    ApiKey(ApiKeyId),
}

impl Method {
    /// Returns the name in logs and in the details of events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::ApiKey(_) => "api_key",
        }
    }
}

impl Origin {
    /// Returns the origin of the command line and of background duties.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }
}

/// An event to record.
#[derive(Debug)]
pub struct Event {
    kind: Kind,
    outcome: Outcome,
    subject: Option<String>,
    details: Value,
}

impl Event {
    /// Returns an event with the outcome `success`.
    #[must_use]
    pub fn success(kind: Kind) -> Self {
        Self { kind, outcome: Outcome::Success, subject: None, details: json!({}) }
    }

    /// Returns an event with the outcome `failure`.
    #[must_use]
    pub fn failure(kind: Kind) -> Self {
        Self { outcome: Outcome::Failure, ..Self::success(kind) }
    }

    /// Sets the subject, the object of the action: an id or a name.
    #[must_use]
    pub fn subject(mut self, subject: &impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// Sets the details, a JSON object. They must not have a secret.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

named_enum! {
    /// Whether the action succeeded.
    Outcome in "outcome" {
        /// The action succeeded.
        Success = "success",
        /// The action failed.
        Failure = "failure",
    }
}

/// The maximum number of attempts to record an event while spans are closed.
const TRIES: usize = 5;

/// Records an event. The connection is that of the change, so that both are committed together or not at all.
pub async fn record(conn: &mut Conn, mut event: Event, origin: &Origin, now: DateTime<Utc>) -> Result<(), StoreError> {
    if let Some(method) = origin.method {
        event.details["method"] = method.as_str().into();
        if let Method::ApiKey(id) = method {
            event.details["authenticated_by"] = id.to_string().into();
        }
    }
    let mut id = EventId::new(now);
    for _ in 0..TRIES {
        let inserted = conn::execute!(
            conn,
            sql::INSERT,
            id,
            now,
            event.kind.as_str(),
            event.outcome.as_str(),
            origin.actor.as_deref(),
            event.subject.as_deref(),
            origin.client_id.as_deref(),
            origin.address.as_deref(),
            origin.request_id.as_deref(),
            event.details.to_string()
        )?;
        if inserted == 1 {
            return Ok(());
        }
        // A late event: the request was paused, or the clock is behind that of another server.
        id = seals::id_after_closed(conn).await?;
    }
    Err(StoreError::impossible("audit_seals", &id, "no event can come after this span"))
}

/// An audit event.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditEvent, example = json!({
    "id": "019c13ec-9e00-7c4f-9a3e-6f1b1c0c9d52", "at": "2026-01-31T12:00:00Z", "kind": "login.failed", "actor": null,
    "subject": "019c13e0-91b8-7e10-8f5d-2b6d7a3f4c11", "client_id": "back-office", "address": "203.0.113.7",
    "outcome": "failure", "details": {"reason": "wrong_password"}, "request_id": "019c13ec-9dfe-7a02-b1d7-0c54b2a9e6f3"
}))]
pub struct Recorded {
    /// `UUIDv7`; sorts by time.
    pub id: EventId,
    /// When the event happened.
    pub at: DateTime<Utc>,
    /// The kind of event.
    // A text: during an upgrade another server may record kinds that this one does not know.
    #[schema(value_type = Kind)]
    pub kind: String,
    /// Id of the user or client that performed the action. Null for the command line, and if the caller is unknown.
    pub actor: Option<String>,
    /// Target of the action: the id of a user, client or key, or the name of a role or scope.
    pub subject: Option<String>,
    /// Client of the request.
    pub client_id: Option<String>,
    /// IP address of the caller.
    pub address: Option<String>,
    /// Whether the action succeeded.
    pub outcome: Outcome,
    /// Details, which depend on the kind. Never a secret.
    pub details: Map<String, Value>,
    /// Id of the request, as in the log and in `X-Request-Id`.
    pub request_id: Option<String>,
}

/// A filter for events. An event matches if all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The actor.
    pub actor: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The kind of event.
    pub kind: Option<Kind>,
    /// The earliest time.
    pub since: Option<DateTime<Utc>>,
}

/// Parses the time of a filter (RFC 3339).
pub fn since(text: &str) -> Result<DateTime<Utc>, FieldError> {
    let wrong = |_| FieldError::new("since", Code::Format, "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)");
    Ok(DateTime::parse_from_rfc3339(text).map_err(wrong)?.to_utc())
}

/// Returns at most `limit` events, newest first, before the cursor `before`. Every page costs the same, however old it
/// is.
pub async fn list(store: &Store, filter: &Filter, before: Option<EventId>, limit: i64) -> Result<Vec<Recorded>, Error> {
    let mut conn = store.read().await?;
    let before = before.unwrap_or(EventId::from([0xff; 16]));
    // Truncated to microseconds, as stored. Ids have the millisecond of the event, so `floor` bounds the scan of the
    // index.
    let since = filter.since.map(|since| since.trunc_subsecs(6));
    let floor = since.map_or(EventId::from([0; 16]), EventId::first_of);
    let (actor, subject) = (filter.actor.as_deref(), filter.subject.as_deref());
    let kind = filter.kind.map(Kind::as_str);
    // The index of the most selective filter; the others are checked row by row.
    let sql = match (subject, actor, kind) {
        (Some(_), ..) => sql::LIST_SUBJECT,
        (None, Some(_), _) => sql::LIST_ACTOR,
        (None, None, Some(_)) => sql::LIST_KIND,
        (None, None, None) => sql::LIST,
    };
    let rows = conn::all!(conn, sql::EventRow, sql, before, limit, floor, since, subject, actor, kind)?;
    Ok(rows.into_iter().map(Recorded::try_from).collect::<Result<_, _>>()?)
}

/// Deletes a batch of the oldest events before a time, at most `most`, and returns whether there may be more. Of sealed
/// events, only whole spans are deleted: the next seal becomes the anchor of the chain, and then its events go.
pub(crate) async fn delete_before(conn: &mut Conn, time: DateTime<Utc>, most: i64) -> Result<bool, StoreError> {
    let cutoff = EventId::first_of(time);
    if conn::execute!(conn, sql::DELETE_OLDEST, cutoff, most)? >= most.unsigned_abs() {
        return Ok(true);
    }
    Ok(conn::execute!(conn, sql::DELETE_OLDEST_SEAL, cutoff)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_the_listed_kinds_and_times_with_a_zone() {
        assert!(Kind::ALL.iter().all(|kind| kind.as_str().parse() == Ok(*kind)));
        assert_eq!("user.renamed".parse::<Kind>().unwrap_err().code, Code::Unknown);
        assert_eq!(since("2026-01-31T13:00:00.5+01:00").unwrap().timestamp_millis(), 1_769_860_800_500);
        assert_eq!(since("2026-01-31").unwrap_err().code, Code::Format);
    }
}
