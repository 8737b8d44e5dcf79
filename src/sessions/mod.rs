//! Login sessions: a session is one login of a user at a client, and a refresh token belongs to a session.

mod refresh_token;
mod rotation;
pub(crate) mod routes;
pub(crate) mod sql;
mod write;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::Serialize;

use self::sql::{BATCH, BY_ID, BY_IDS, SessionRow};
pub(crate) use self::{
    refresh_token::PREFIX as REFRESH_TOKEN,
    rotation::{Standing, Use},
    write::{NewSession, begin, end_all, end_all_of_user, end_every_session, note_exchange, truncated},
};
pub use self::{
    refresh_token::{RefreshClaim, RefreshTokens},
    rotation::Sessions,
    write::{Sweep, end, end_own},
};
use crate::{
    clients::Client,
    error::Error,
    ids::{SessionId, UserId},
    names::{Audience, ClientId},
    store::{Conn, StoreError, batch::read_by_key, conn},
};

/// A login session, live, ended or expired.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) client_id: ClientId,
    /// The scope that was requested at login. `None`: none was, which means all scopes of the client.
    pub(crate) scope: Option<Scopes>,
    /// The resources (RFC 8707) that were requested at login. `None`: none were, which means all audiences of the client.
    pub(crate) resource: Option<Vec<Audience>>,
    /// Part of the input of the refresh token's MAC.
    pub(crate) secret: [u8; 32],
    /// The number of rotations. The current refresh token contains this number.
    pub(crate) counter: u64,
    rotated_at: Option<DateTime<Utc>>,
    /// When the password was verified.
    pub(crate) created_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl Session {
    /// Returns whether the session ended because its client was disabled.
    pub(crate) fn ended_with(&self, client: &Client) -> bool {
        // Disabling a client updates its row, not those of its sessions, of which there may be very many. Enabling the
        // client again must not bring them back.
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

/// An active login session.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema, sqlx::FromRow)]
#[schema(as = Session)]
pub struct LiveSession {
    /// The `sid` of its tokens.
    pub id: SessionId,
    /// Client that the user logged in with.
    #[schema(example = "default")]
    pub client_id: String,
    /// When the user logged in.
    pub created_at: DateTime<Utc>,
    /// When a token was last issued for the session.
    pub last_used_at: DateTime<Utc>,
    /// IP address of that request.
    #[schema(example = "203.0.113.7")]
    pub address: Option<String>,
    /// `User-Agent` of that request.
    #[schema(example = "Mozilla/5.0 (Android 16; Mobile)")]
    pub user_agent: Option<String>,
    /// Whether the token of the request belongs to this session.
    // `None` on the command line, which has no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[sqlx(default)]
    #[schema(value_type = bool, required)]
    pub current: Option<bool>,
}

/// Returns at most `limit` live sessions of a user in the order of their ids, after the id `after`.
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
