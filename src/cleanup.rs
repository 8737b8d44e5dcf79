//! Removes rows that nobody can use any more, a few at a time, so that no request waits for it.

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use chrono::{DateTime, Utc};

use crate::{
    app::App,
    audit,
    error::Error,
    ids::SessionId,
    keys,
    store::{Conn, Store, StoreError, run},
};

/// How often there is a look, and how long the pause is after a full batch.
const PERIOD: Duration = Duration::from_mins(1);
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);
/// Rows of a table that are removed at once.
const BATCH: i64 = 200;
/// Sessions that are looked at at once, and how often without a longer pause.
const WINDOW: i64 = 1000;
const WINDOWS: usize = 100;
/// Revocations stay for so much longer, so that the cursors of services that were away for a while are known.
const REVOCATIONS: Duration = Duration::from_hours(24);

const END_OF_WINDOW: &str = "SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
const OLD_SESSIONS: &str =
    "DELETE FROM sessions WHERE id > $1 AND id <= $2 AND (idle_expires_at < $3 OR ended_at < $3)";
const OLD_REVOCATIONS: &str = "DELETE FROM revocations WHERE number IN \
     (SELECT number FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
const OLD_ASSERTIONS: &str = "DELETE FROM client_assertions WHERE jti_hash IN \
     (SELECT jti_hash FROM client_assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AND expires_at < $1";

/// Cleans up for as long as the server runs.
pub(crate) async fn run(app: Arc<App>) {
    let store = app.store.aside();
    let mut sessions = Sessions::default();
    loop {
        rt::time::sleep(PERIOD).await;
        for _ in 0..WINDOWS {
            match sweep(&store, &mut sessions, app.config.audit.retention, app.now()).await {
                Ok(true) => rt::time::sleep(BETWEEN_BATCHES).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be removed now");
                    break;
                }
            }
        }
    }
}

/// How far the sessions were looked at: from the oldest to the newest, and again. No index says when they end, since each
/// refresh would have to write it.
#[derive(Debug)]
pub struct Sessions {
    after: SessionId,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { after: SessionId::from([0; 16]) }
    }
}

impl Sessions {
    /// Looks at the next ones; says whether there are more after those.
    async fn sweep(&mut self, conn: &mut Conn, before: DateTime<Utc>) -> Result<bool, StoreError> {
        let end = run::optional!(conn, (SessionId,), END_OF_WINDOW, self.after, WINDOW - 1)?;
        let last = end.map_or(SessionId::from([0xff; 16]), |(id,)| id);
        run::execute!(conn, OLD_SESSIONS, self.after, last, before)?;
        self.after = if end.is_some() { last } else { Self::default().after };
        Ok(end.is_some())
    }
}

/// Removes a batch of each; says whether there may be more. Whichever server comes first has done it.
/// `retention`: how long audit events stay.
pub async fn sweep(
    store: &Store,
    sessions: &mut Sessions,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut conn = store.write().await?;
    // The tokens of a session may outlive it, and are refused for its sake.
    let ended = now - keys::longest_ttl(&mut conn).await?;
    let mut more = sessions.sweep(&mut conn, ended).await?;
    for (sql, before) in [(OLD_REVOCATIONS, now - REVOCATIONS), (OLD_ASSERTIONS, now)] {
        more |= run::execute!(conn, sql, before, BATCH)? == BATCH.unsigned_abs();
    }
    more |= audit::delete_before(&mut conn, now - retention, BATCH).await? == BATCH.unsigned_abs();
    keys::delete_expired(&mut conn, now).await?;
    Ok(more)
}
