//! Starting and ending sessions, and deleting those that are over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grantd_guard::{RevocationKind, Scopes};

use super::{
    LiveSession, Session, not_found,
    sql::{self, EndedRow},
};
use crate::{
    audit::{self, Event, Kind, Origin},
    error::Error,
    ids::{SessionId, UserId},
    names::{Audience, ClientId},
    secret,
    store::{Conn, Revocation, StoreError, TokensExpire, Transaction, conn},
};

/// The maximum length of a stored user agent, in characters.
const USER_AGENT_LENGTH: usize = 256;
/// Up to this number, the sessions of a user are revoked one by one; above it, one revocation covers all tokens of the
/// user.
const ONE_BY_ONE: usize = 100;
/// The number of sessions that a step of a sweep examines.
const WINDOW: i64 = 1000;

/// Truncates a user agent to the stored length.
pub(crate) fn truncated(user_agent: Option<&str>) -> Option<String> {
    user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH).collect())
}

/// A session to create.
pub(crate) struct NewSession<'s> {
    pub(crate) user_id: UserId,
    pub(crate) client_id: &'s ClientId,
    /// The requested scope. `None`: none was requested, which means all.
    pub(crate) scope: Option<&'s Scopes>,
    /// The requested resources (RFC 8707).
    pub(crate) resource: Option<&'s [Audience]>,
    pub(crate) address: Option<&'s str>,
    pub(crate) user_agent: Option<&'s str>,
    /// The maximum session lifetime.
    pub(crate) session_ttl: Duration,
    /// The idle lifetime of refresh tokens.
    pub(crate) refresh_token_ttl: Duration,
    /// When the first access token expires.
    pub(crate) access_expires_at: DateTime<Utc>,
}

/// Creates a session.
pub(crate) async fn begin(conn: &mut Conn, new: &NewSession<'_>, now: DateTime<Utc>) -> Result<Session, Error> {
    let expires_at = now + new.session_ttl;
    let idle_expires_at = (now + new.refresh_token_ttl).min(expires_at);
    let session = Session {
        id: SessionId::new(now),
        user_id: new.user_id,
        client_id: new.client_id.clone(),
        scope: new.scope.cloned(),
        resource: new.resource.map(<[Audience]>::to_vec),
        secret: secret::random()?,
        counter: 0,
        rotated_at: None,
        created_at: now,
        idle_expires_at,
        expires_at,
        ended_at: None,
    };
    conn::execute!(
        conn,
        sql::INSERT,
        session.id,
        new.user_id,
        new.client_id.as_str(),
        new.scope.map(ToString::to_string),
        new.resource.map(Audience::join),
        session.secret.to_vec(),
        0_i64,
        now,
        idle_expires_at,
        expires_at,
        new.access_expires_at,
        new.address,
        truncated(new.user_agent)
    )?;
    Ok(session)
}

/// Notes that another access token is issued for a session; `false`: it has ended. Locks the row, like a refresh: an end that
/// comes later revokes the token.
pub(crate) async fn note_exchange(tx: &mut Transaction, id: SessionId, now: DateTime<Utc>) -> Result<bool, StoreError> {
    Ok(conn::execute!(tx, sql::EXCHANGED, id, now)? == 1)
}

/// Ends a session, revokes its tokens, and records `event` about its user. `false`: the session does not exist or has
/// ended before. Expired sessions are ended too, since their last access token may still be valid.
pub async fn end(
    tx: &mut Transaction,
    id: SessionId,
    event: Event,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    // Locks the row: a concurrent refresh either has written the expiry of its access token before, which the revocation
    // then covers, or finds the session ended. Idempotent: of two calls, one revokes and records the event.
    let ended = conn::optional!(tx, (UserId, DateTime<Utc>), sql::END, id, now)?;
    let Some((user, access_expires_at)) = ended else { return Ok(false) };
    revoke(tx, id, access_expires_at);
    let event = event.subject(&user).details(serde_json::json!({"session": id}));
    audit::record(tx, event, origin, now).await?;
    Ok(true)
}

fn revoke(tx: &mut Transaction, id: SessionId, access_expires_at: DateTime<Utc>) {
    tx.revoke(Revocation::new(RevocationKind::Session, &id, TokensExpire::At(access_expires_at)));
}

/// Ends a live session on request of its user.
pub async fn end_own(
    tx: &mut Transaction,
    user: UserId,
    id: SessionId,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let live = conn::optional!(tx, LiveSession, sql::LIVE_ONE_OF_USER, user, now, id)?;
    let ended = live.is_some() && end(tx, id, Event::success(Kind::SessionEnded), origin, now).await?;
    if ended { Ok(()) } else { Err(not_found(&id)) }
}

/// Ends all sessions of a user except `except`, and revokes their tokens.
pub(crate) async fn end_all_of_user(
    tx: &mut Transaction,
    user: UserId,
    except: Option<SessionId>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ended = conn::all!(tx, EndedRow, sql::END_ALL_OF_USER, user, now, except)?;
    // A revocation of the user would also revoke the tokens of the session that is kept.
    if ended.len() > ONE_BY_ONE && except.is_none() {
        revoke_user(tx, user, &ended, now);
    } else {
        for row in &ended {
            revoke(tx, row.id, row.access_expires_at);
        }
    }
    Ok(())
}

/// Ends all sessions of a user who is deleted, and revokes all tokens of the user.
pub(crate) async fn end_every_session(tx: &mut Transaction, user: UserId, now: DateTime<Utc>) -> Result<(), Error> {
    let ended = conn::all!(tx, EndedRow, sql::END_EVERY_OF_USER, user, now)?;
    revoke_user(tx, user, &ended, now);
    Ok(())
}

/// Revokes all tokens of a user. The caller has locked the rows of the sessions, so no refresh comes after this.
fn revoke_user(tx: &mut Transaction, user: UserId, ended: &[EndedRow], now: DateTime<Utc>) {
    let last = ended.iter().map(|row| row.access_expires_at).max().unwrap_or(now);
    let revocation = Revocation::new(RevocationKind::User, &user, TokensExpire::At(last));
    // Not before the last use of any session: the server that issued that token may have a clock that is ahead of this
    // one, and the token would be younger than its revocation.
    tx.revoke(Revocation { not_before: ended.iter().map(|row| row.last_used_at).max(), ..revocation });
}

/// Ends all sessions of a user on request, with an event of its own.
pub(crate) async fn end_all(
    tx: &mut Transaction,
    user: UserId,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let event = Event::success(Kind::SessionEnded).subject(&user).details(serde_json::json!({"all": true}));
    audit::record(tx, event, origin, now).await?;
    end_all_of_user(tx, user, None, now).await
}

/// Deletes sessions that are over. It scans the table from the oldest session to the newest, and then starts again. There
/// is no index on the expiry, since each refresh would have to update it.
#[derive(Debug)]
pub struct Sweep {
    after: SessionId,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { after: SessionId::from([0; 16]) }
    }
}

impl Sweep {
    /// Examines the next sessions. Returns how many were deleted, and whether the end of the table is not reached yet.
    pub(crate) async fn step(&mut self, conn: &mut Conn, now: DateTime<Utc>) -> Result<(u64, bool), StoreError> {
        let end = conn::optional!(conn, (SessionId,), sql::END_OF_WINDOW, self.after, WINDOW - 1)?;
        let last = end.map_or(SessionId::from([0xff; 16]), |(id,)| id);
        let deleted = conn::execute!(conn, sql::DELETE_OVER, self.after, last, now)?;
        self.after = if end.is_some() { last } else { Self::default().after };
        Ok((deleted, end.is_some()))
    }
}
