//! Periodic deletion of expired rows, in small batches, so that no request waits for it.

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use chrono::{DateTime, Utc};

use crate::{
    api_keys, app::App, audit, clients, error::Error, keys, revocations, sessions::Sweep, store::Store,
    throttle::Throttle,
};

/// The pause between two sweeps.
const PERIOD: Duration = Duration::from_mins(1);
/// The number of rows that a statement deletes.
const BATCH: i64 = 200;
/// How long an expired API key is listed.
const API_KEYS_KEPT: Duration = Duration::from_hours(24);
/// The number of windows of live sessions that a sweep examines before the next pause, and the short pause between them.
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
            match sweep(&store, &mut sessions, &app.throttle, app.config.audit.retention, app.now()).await {
                // A backlog is deleted without a pause: with one, the tables could grow faster than they are swept.
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

/// The result of a sweep.
pub struct Swept {
    /// Whether a batch was full, so that there are probably more rows to delete.
    pub has_backlog: bool,
    /// Whether there are more rows to delete or to examine.
    pub more: bool,
}

/// Deletes a batch of expired rows from each table. Several servers may do this at the same time. `retention`: how long
/// audit events are kept.
pub async fn sweep(
    store: &Store,
    sessions: &mut Sweep,
    throttle: &Throttle,
    retention: Duration,
    now: DateTime<Utc>,
) -> Result<Swept, Error> {
    // Each statement acquires the connection again: SQLite has one for writing, and requests must get it in between.
    let (over, more_sessions) = sessions.step(&mut store.write().await?, now).await?;
    let revocations = revocations::delete_expired(&mut store.write().await?, now, BATCH).await?;
    let assertions = clients::delete_expired_assertions(&mut store.write().await?, now, BATCH).await?;
    let more_events = audit::delete_before(&mut store.write().await?, now - retention, BATCH).await?;
    let api_keys = api_keys::delete_expired(&mut store.write().await?, now - API_KEYS_KEPT, BATCH).await?;
    let budgets = throttle.sweep(store, now, BATCH).await?;
    keys::delete_expired(&mut store.write().await?, now).await?;
    let is_full =
        more_events || [revocations, assertions, api_keys, budgets].iter().any(|rows| *rows >= BATCH.unsigned_abs());
    Ok(Swept { has_backlog: is_full || (more_sessions && over > 0), more: is_full || more_sessions })
}
