//! The schedule by which rows are deleted that nobody can use any more, a batch at a time, so that no request waits for it.

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use chrono::{DateTime, Utc};

use crate::{app::App, audit, clients, error::Error, keys, revocations, sessions::Sweep, store::Store};

/// How often the tables are looked at.
const PERIOD: Duration = Duration::from_mins(1);
/// Rows of a table that one statement deletes.
const BATCH: i64 = 200;

/// Cleans up for as long as the server runs.
pub(crate) async fn run(app: Arc<App>) {
    let store = app.store.aside();
    let mut sessions = Sweep::default();
    loop {
        rt::time::sleep(PERIOD).await;
        // As long as there is more: whatever piled up is deleted before the next pause.
        loop {
            match sweep(&store, &mut sessions, app.config.audit.retention, app.now()).await {
                Ok(true) if !app.is_stopping() => rt::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be deleted now");
                    break;
                }
            }
        }
    }
}

/// Deletes a batch of each table; returns whether there may be more. Several servers may do this at the same time.
/// `retention`: how long audit events stay.
pub async fn sweep(
    store: &Store,
    sessions: &mut Sweep,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    // Each with a connection of its own: requests get theirs in between.
    let mut more = sessions.step(&mut store.write().await?, now).await?;
    let full = |deleted: u64| deleted >= BATCH.unsigned_abs();
    more |= full(revocations::delete_expired(&mut store.write().await?, now, BATCH).await?);
    more |= full(clients::delete_expired_assertions(&mut store.write().await?, now, BATCH).await?);
    more |= full(audit::delete_before(&mut store.write().await?, now - retention, BATCH).await?);
    keys::delete_expired(&mut store.write().await?, now).await?;
    Ok(more)
}
