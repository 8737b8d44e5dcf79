//! Sessions as their user and operators see them: those that live are listed, and ended.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{end, end_all_of_user, sql};
use crate::{
    app::App,
    audit::{self, Event, Origin},
    changes,
    error::Error,
    ids::{SessionId, UserId},
    store::{Conn, run},
};

/// A login that goes on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema, sqlx::FromRow)]
#[schema(as = Session)]
pub struct LiveSession {
    /// The `sid` of its tokens.
    pub id: SessionId,
    /// The application.
    #[schema(example = "default")]
    pub client_id: String,
    /// When the password was given.
    pub created_at: DateTime<Utc>,
    /// When a token was last given for it.
    pub last_used_at: DateTime<Utc>,
    /// From where that was.
    #[schema(example = "203.0.113.7")]
    pub address: Option<String>,
    /// With what that was, as it said itself.
    #[schema(example = "Mozilla/5.0 (Android 16; Mobile)")]
    pub user_agent: Option<String>,
    /// Whether it is that of the token that asks.
    // None on the command line, where no token does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[sqlx(default)]
    #[schema(value_type = bool, required)]
    pub current: Option<bool>,
}

/// The sessions of a user that live, in the order of their ids, after one of them: at most `limit`.
pub async fn list_of_user(
    app: &App,
    user: UserId,
    after: Option<SessionId>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<LiveSession>, Error> {
    let mut conn = app.store.read().await?;
    let after = after.unwrap_or(SessionId::from([0; 16]));
    Ok(run::all!(conn, LiveSession, sql::LIVE_OF_USER, user, now, after, limit)?)
}

/// Ends a session for a user, whose own it must be.
pub(crate) async fn end_own(
    app: &App,
    user: UserId,
    id: SessionId,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut conn = app.store.read().await?;
    let live = run::optional!(conn, LiveSession, sql::LIVE_ONE_OF_USER, user, now, id)?;
    drop(conn);
    if live.is_some() && end_one(app, id, origin, now).await? { Ok(()) } else { Err(not_found(&id)) }
}

/// There is none, or none that lives.
pub(crate) fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "session", name: id.to_string() }
}

/// Ends a session and revokes its tokens; `false`: there is none, or it was ended before. One that has merely expired is ended
/// too: its last access token may live longer.
pub async fn end_one(app: &App, id: SessionId, origin: &Origin, now: DateTime<Utc>) -> Result<bool, Error> {
    let ended = app.store.transact(async |conn| {
        let Some(user) = end(conn, id, now).await? else { return Ok(false) };
        let event = Event::success("session.ended").subject(&user).details(serde_json::json!({"session": id}));
        audit::record(conn, event, origin, now).await?;
        Ok(true)
    });
    let ended = ended.await?;
    changes::catch_up(app, &app.store).await?;
    Ok(ended)
}

/// Ends all sessions of a user because somebody wants just that: with an event of its own, in a transaction that is under way, as
/// the last thing there.
pub(crate) async fn end_all(conn: &mut Conn, user: UserId, origin: &Origin, now: DateTime<Utc>) -> Result<(), Error> {
    let event = Event::success("session.ended").subject(&user).details(serde_json::json!({"all": true}));
    audit::record(conn, event, origin, now).await?;
    end_all_of_user(conn, user, now).await
}
