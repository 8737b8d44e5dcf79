//! Statements on sessions, and the conversion of their rows.

use chrono::{DateTime, Utc};

use super::Session;
use crate::{
    error::FieldError,
    ids::{SessionId, UserId},
    store::StoreError,
};

pub(super) const INSERT: &str = "INSERT INTO sessions \
     (id, user_id, client_id, scope, resource, secret, counter, created_at, last_used_at, idle_expires_at, expires_at, \
      access_expires_at, address, user_agent) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13)";
macro_rules! columns {
    () => {
        "SELECT id, user_id, client_id, scope, resource, secret, counter, rotated_at, created_at, idle_expires_at, expires_at, \
         ended_at FROM sessions "
    };
}

pub(super) const BY_ID: &str = concat!(columns!(), "WHERE id = $1");
/// The number of sessions that [`BY_IDS`] reads.
pub(super) const BATCH: usize = 16;
pub(super) const BY_IDS: &str =
    concat!(columns!(), "WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)");
/// Uses the refresh token with the counter `$2`. `$8`: 1 rotates it, 0 is a retry.
// `last_used_at` and `access_expires_at` never decrease, although requests may overtake each other. Revocations rely on
// it: an earlier value would revoke too few tokens, or expire before the last token.
pub(super) const USE: &str = "UPDATE sessions SET counter = counter + $8, \
     rotated_at = CASE WHEN $8 = 1 THEN $3 ELSE rotated_at END, \
     last_used_at = CASE WHEN last_used_at < $3 THEN $3 ELSE last_used_at END, \
     access_expires_at = CASE WHEN access_expires_at < $7 THEN $7 ELSE access_expires_at END, \
     idle_expires_at = CASE WHEN $8 = 1 THEN $4 ELSE idle_expires_at END, address = $5, user_agent = $6 \
     WHERE id = $1 AND counter = $2 AND ended_at IS NULL RETURNING id, counter";
/// The number of uses that [`USE_MANY`] makes. Each has eight parameters: session, counter, time, idle expiry, address,
/// user agent, expiry of the access token, step.
pub(super) const USES: usize = 8;
// Postgres may keep a plan from when the table was small, with a sequential scan, until the table is analysed, a minute
// after the first start. The `IN` reduces that scan to one comparison per row instead of eight: 15 ms instead of 250 with
// 50,000 sessions.
pub(super) const USE_MANY: &str = "UPDATE sessions SET counter = counter + v.column8, \
     rotated_at = CASE WHEN v.column8 = 1 THEN v.column3 ELSE rotated_at END, \
     last_used_at = CASE WHEN last_used_at < v.column3 THEN v.column3 ELSE last_used_at END, \
     access_expires_at = CASE WHEN access_expires_at < v.column7 THEN v.column7 ELSE access_expires_at END, \
     idle_expires_at = CASE WHEN v.column8 = 1 THEN v.column4 ELSE idle_expires_at END, \
     address = v.column5, user_agent = v.column6 \
     FROM (VALUES ($1, $2, $3, $4, $5, $6, $7, $8), \
     ($9, $10, $11, $12, $13, $14, $15, $16), \
     ($17, $18, $19, $20, $21, $22, $23, $24), \
     ($25, $26, $27, $28, $29, $30, $31, $32), \
     ($33, $34, $35, $36, $37, $38, $39, $40), \
     ($41, $42, $43, $44, $45, $46, $47, $48), \
     ($49, $50, $51, $52, $53, $54, $55, $56), \
     ($57, $58, $59, $60, $61, $62, $63, $64)) AS v \
     WHERE id IN ($1, $9, $17, $25, $33, $41, $49, $57) AND id = v.column1 AND counter = v.column2 AND ended_at IS NULL \
     RETURNING id, counter";
/// The sessions whose column is `$1` and that are live at `$2`.
macro_rules! live_with {
    ($column:literal) => {
        concat!(
            "FROM sessions s JOIN clients c ON c.client_id = s.client_id WHERE ",
            $column,
            " = $1 AND s.ended_at IS NULL AND s.idle_expires_at > $2 AND s.expires_at > $2 \
             AND (c.sessions_ended_at IS NULL OR s.created_at > c.sessions_ended_at) "
        )
    };
}
/// The live sessions of the user `$1`, with the columns of [`super::LiveSession`].
macro_rules! live {
    () => {
        concat!(
            "SELECT s.id, s.client_id, s.created_at, s.last_used_at, s.address, s.user_agent ",
            live_with!("s.user_id")
        )
    };
}

pub(super) const EXCHANGED: &str = "UPDATE sessions SET last_used_at = CASE WHEN last_used_at < $2 THEN $2 ELSE last_used_at END \
     WHERE id = $1 AND ended_at IS NULL";

pub(super) const LIVE_OF_USER: &str = concat!(live!(), "AND s.id > $3 ORDER BY s.id LIMIT $4");
pub(super) const LIVE_ONE_OF_USER: &str = concat!(live!(), "AND s.id = $3");
pub(super) const COUNT_OF_USER: &str = concat!("SELECT count(*) ", live_with!("s.user_id"));
pub(super) const COUNT_OF_CLIENT: &str = concat!("SELECT count(*) ", live_with!("s.client_id"));
pub(super) const END: &str =
    "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING user_id, access_expires_at";
/// `$3`: a session that is kept; NULL: none.
pub(super) const END_ALL_OF_USER: &str = "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL \
     AND ($3 IS NULL OR id <> $3) RETURNING id, last_used_at, access_expires_at";
/// Includes sessions that have ended before, since the user's revocation must outlive their access tokens, too.
pub(super) const END_EVERY_OF_USER: &str = "UPDATE sessions SET ended_at = COALESCE(ended_at, $2) WHERE user_id = $1 \
     RETURNING id, last_used_at, access_expires_at";

pub(super) const END_OF_WINDOW: &str = "SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
/// Deletes sessions that are over. A session is kept until its last access token has expired.
pub(super) const DELETE_OVER: &str = "DELETE FROM sessions WHERE id > $1 AND id <= $2 \
     AND (idle_expires_at < $3 OR ended_at < $3) AND access_expires_at < $3";

crate::store::hot! {
    INSERT, BY_ID, BY_IDS, USE, USE_MANY,
    LIVE_OF_USER, END, END_ALL_OF_USER, END_OF_WINDOW, DELETE_OVER
}

/// The row of a session that was ended.
#[derive(sqlx::FromRow)]
pub(super) struct EndedRow {
    pub(super) id: SessionId,
    pub(super) last_used_at: DateTime<Utc>,
    pub(super) access_expires_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    user_id: UserId,
    client_id: String,
    scope: Option<String>,
    resource: Option<String>,
    secret: Vec<u8>,
    counter: i64,
    rotated_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl TryFrom<SessionRow> for Session {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        let impossible = |problem: &str| StoreError::impossible("sessions", &row.id, problem);
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            client_id: row.client_id.parse().map_err(|error: FieldError| impossible(&error.message))?,
            scope: row
                .scope
                .map(|scope| scope.parse().map_err(|_| impossible("the scope is malformed")))
                .transpose()?,
            resource: row
                .resource
                .map(|list| list.split(' ').map(str::parse).collect::<Result<_, _>>())
                .transpose()
                .map_err(|error: FieldError| impossible(&error.message))?,
            secret: row.secret.try_into().map_err(|_| impossible("the secret has not 32 bytes"))?,
            counter: u64::try_from(row.counter).map_err(|_| impossible("the counter is negative"))?,
            rotated_at: row.rotated_at,
            created_at: row.created_at,
            idle_expires_at: row.idle_expires_at,
            expires_at: row.expires_at,
            ended_at: row.ended_at,
        })
    }
}
