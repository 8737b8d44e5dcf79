//! The schedule by which rows are deleted that nobody can use any more, a batch at a time, so that no request waits for it.

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use chrono::{DateTime, Utc};

use crate::{app::App, audit, clients, error::Error, keys, revocations, sessions::Sweep, store::Store};

/// How often the tables are looked at.
const PERIOD: Duration = Duration::from_mins(1);
/// Rows of a table that one statement deletes.
const BATCH: i64 = 200;
/// Windows of live sessions that are looked at without a longer pause, and the pause after each.
const WINDOWS: usize = 100;
const BETWEEN_WINDOWS: Duration = Duration::from_millis(100);

/// Cleans up for as long as the server runs.
pub(crate) async fn run(app: Arc<App>) {
    let store = app.store.aside();
    let mut sessions = Sweep::default();
    loop {
        rt::time::sleep(PERIOD).await;
        let mut windows = 0;
        while windows < WINDOWS && !app.is_stopping() {
            match sweep(&store, &mut sessions, app.config.audit.retention, app.now()).await {
                // What has piled up is deleted before the next pause.
                Ok(Swept { has_backlog: true, .. }) => rt::task::yield_now().await,
                Ok(Swept { more: true, .. }) => {
                    windows += 1;
                    rt::time::sleep(BETWEEN_WINDOWS).await;
                }
                Ok(Swept { more: false, .. }) => break,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be deleted now");
                    break;
                }
            }
        }
    }
}

/// What a sweep has left.
pub struct Swept {
    /// Whether a batch was full, so that there are probably more rows to delete.
    pub has_backlog: bool,
    /// Whether there is more to delete or to look at.
    pub more: bool,
}

/// Deletes a batch of each table. Several servers may do this at the same time. `retention`: how long audit events stay.
pub async fn sweep(
    store: &Store,
    sessions: &mut Sweep,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<Swept, Error> {
    // Each with a connection of its own: requests get theirs in between.
    let (over, more_sessions) = sessions.step(&mut store.write().await?, now).await?;
    let revocations = revocations::delete_expired(&mut store.write().await?, now, BATCH).await?;
    let assertions = clients::delete_expired_assertions(&mut store.write().await?, now, BATCH).await?;
    let events = audit::delete_before(&mut store.write().await?, now - retention, BATCH).await?;
    keys::delete_expired(&mut store.write().await?, now).await?;
    let is_full = [revocations, assertions, events].iter().any(|rows| *rows >= BATCH.unsigned_abs());
    Ok(Swept { has_backlog: is_full || (more_sessions && over > 0), more: is_full || more_sessions })
}
