//! Sessions: one login of one user at one client, which the refresh token belongs to.

mod refresh_token;
mod sql;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;

pub use self::refresh_token::{RefreshClaim, RefreshTokens};
use crate::{
    clients::ClientId,
    config::TokenConfig,
    error::Error,
    ids::{SessionId, UserId},
    secret,
    store::{Conn, run},
};

/// A session to begin.
pub(crate) struct NewSession<'s> {
    pub(crate) user_id: UserId,
    pub(crate) client_id: &'s ClientId,
    /// As it was asked for; none: nothing, which means all.
    pub(crate) scope: Option<&'s Scopes>,
    /// The RFC 8707 resources that were asked for, space-delimited.
    pub(crate) resource: Option<&'s str>,
    pub(crate) address: Option<&'s str>,
    pub(crate) user_agent: Option<&'s str>,
}

/// A session that has begun.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Goes into the MAC of the refresh token.
    pub(crate) secret: [u8; 32],
    /// How often the refresh token was rotated.
    pub(crate) counter: u64,
    /// When the password was given.
    pub(crate) created_at: DateTime<Utc>,
}

/// As much of a user agent as is kept, in characters.
const USER_AGENT_LENGTH: usize = 256;

/// Begins a session in a transaction that is under way.
pub(crate) async fn begin(
    conn: &mut Conn,
    config: &TokenConfig,
    new: &NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<Session, Error> {
    let session = Session { id: SessionId::new(now), secret: secret::random()?, counter: 0, created_at: now };
    let expires_at = now + config.session_ttl;
    let idle_expires_at = (now + config.refresh_token_ttl).min(expires_at);
    let user_agent: Option<String> = new.user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH).collect());
    run::execute!(
        conn,
        sql::INSERT,
        session.id,
        new.user_id,
        new.client_id.as_str(),
        new.scope.map(ToString::to_string),
        new.resource,
        session.secret.to_vec(),
        0_i64,
        now,
        idle_expires_at,
        expires_at,
        new.address,
        user_agent
    )?;
    Ok(session)
}

/// Ends all sessions of a user, in a transaction that is under way.
pub(crate) async fn end_all_of_user(conn: &mut Conn, id: UserId, now: DateTime<Utc>) -> Result<(), Error> {
    run::execute!(conn, sql::END_ALL_OF_USER, id, now)?;
    Ok(())
}
