//! Sessions: one login of a user at a client. A refresh token is a claim on one.

mod refresh_token;
mod rotation;
pub(crate) mod routes;
pub(crate) mod sql;
mod write;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

use self::sql::{BATCH, BY_ID, BY_IDS, SessionRow};
pub use self::{
    refresh_token::{RefreshClaim, RefreshTokens},
    rotation::Sessions,
    write::{Sweep, end, end_own},
};
pub(crate) use self::{
    rotation::{Standing, Use},
    write::{NewSession, begin, end_all, end_all_of_user, end_every_session, truncated},
};
use crate::{
    clients::Client,
    error::Error,
    ids::{SessionId, UserId},
    names::{Audience, ClientId},
    store::{Conn, StoreError, batch::read_by_key, conn},
};

/// A session, live or not.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) client_id: ClientId,
    /// As it was requested at login. `None`: no scope was, which means all.
    pub(crate) scope: Option<Scopes>,
    /// The RFC 8707 resources that were requested at login. `None`: none were, which means all of the client's audiences.
    pub(crate) resource: Option<Vec<Audience>>,
    /// Goes into the MAC of the refresh token.
    pub(crate) secret: [u8; 32],
    /// How often the refresh token was rotated: the current one carries this number.
    pub(crate) counter: u64,
    rotated_at: Option<DateTime<Utc>>,
    /// When the password was verified.
    pub(crate) created_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl Session {
    /// Returns whether it ended because its client was disabled.
    pub(crate) fn ended_with(&self, client: &Client) -> bool {
        client.sessions_ended_at.is_some_and(|at| self.created_at <= at)
    }

    /// Returns when the current refresh token expires.
    pub(crate) fn refresh_token_expires_at(&self) -> DateTime<Utc> {
        self.idle_expires_at
    }

    /// Returns when the current refresh token was issued.
    pub(crate) fn refresh_token_issued_at(&self) -> DateTime<Utc> {
        self.rotated_at.unwrap_or(self.created_at)
    }
}

/// A live session, as its user and operators see it.
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

/// Returns at most `limit` live sessions of a user in the order of their ids, after one of them.
pub async fn list_of_user(
    conn: &mut Conn,
    user: UserId,
    after: Option<SessionId>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<LiveSession>, StoreError> {
    let after = after.unwrap_or(SessionId::from([0; 16]));
    conn::all!(conn, LiveSession, sql::LIVE_OF_USER, user, now, after, limit)
}

/// Returns the number of live sessions of a user.
pub(crate) async fn count_of_user(conn: &mut Conn, user: UserId, now: DateTime<Utc>) -> Result<i64, StoreError> {
    conn::scalar!(conn, i64, sql::COUNT_OF_USER, user, now)
}

/// Returns the number of live sessions at a client.
pub(crate) async fn count_of_client(conn: &mut Conn, client: &ClientId, now: DateTime<Utc>) -> Result<i64, StoreError> {
    conn::scalar!(conn, i64, sql::COUNT_OF_CLIENT, client.as_str(), now)
}

/// Returns the error for a session that does not exist or is not live.
pub(crate) fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "session", name: id.to_string() }
}

read_by_key!(ById, SessionId => Session, SessionRow, BY_ID, BY_IDS, BATCH, [4, 2], |id| *id, |row| Some(row.id));
