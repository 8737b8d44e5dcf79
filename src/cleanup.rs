//! Removes rows that nobody can use any more, a few at a time, so that no request waits for it.

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use chrono::{DateTime, Utc};

use crate::{
    app::App,
    error::Error,
    keys,
    store::{Conn, Store, StoreError, run},
};

/// How often there is a look, and how long the pause is after a full batch.
const PERIOD: Duration = Duration::from_mins(1);
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);
/// Rows of a table that are removed at once.
const BATCH: i64 = 200;
/// Revocations stay for so much longer, so that the cursors of services that were away for a while are known.
const REVOCATIONS: Duration = Duration::from_hours(24);

const EXPIRED_SESSIONS: &str = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE idle_expires_at < $1 ORDER BY idle_expires_at LIMIT $2)";
const ENDED_SESSIONS: &str =
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)";
const OLD_REVOCATIONS: &str = "DELETE FROM revocations WHERE number IN \
     (SELECT number FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
const OLD_ASSERTIONS: &str = "DELETE FROM client_assertions WHERE jti_hash IN \
     (SELECT jti_hash FROM client_assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) AND expires_at < $1";

/// Cleans up for as long as the server runs.
pub(crate) async fn run(app: Arc<App>) {
    let store = app.store.aside();
    loop {
        rt::time::sleep(PERIOD).await;
        loop {
            match sweep(&store, app.now()).await {
                Ok(full) if full => rt::time::sleep(BETWEEN_BATCHES).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be removed now");
                    break;
                }
            }
        }
    }
}

/// Removes a batch of each; says whether there may be more. Whichever server comes first has done it.
pub async fn sweep(store: &Store, now: DateTime<Utc>) -> Result<bool, Error> {
    let mut conn = store.write().await?;
    // The tokens of a session may outlive it, and are refused for its sake.
    let sessions = now - keys::longest_ttl(&mut conn).await?;
    let mut full = false;
    for (sql, before) in [
        (EXPIRED_SESSIONS, sessions),
        (ENDED_SESSIONS, sessions),
        (OLD_REVOCATIONS, now - REVOCATIONS),
        (OLD_ASSERTIONS, now),
    ] {
        full |= batch(&mut conn, sql, before).await? == BATCH.unsigned_abs();
    }
    keys::delete_expired(&mut conn, now).await?;
    Ok(full)
}

async fn batch(conn: &mut Conn, sql: &'static str, before: DateTime<Utc>) -> Result<u64, StoreError> {
    run::execute!(conn, sql, before, BATCH)
}
