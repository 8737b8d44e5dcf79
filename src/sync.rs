//! Sync of this server's caches with the database: revocations, signing keys, clients, scopes.
//!
//! Every server polls one row (see [`crate::store::changes`]) several times a second, and after each change of its own. A
//! transaction replaces the numbers of the caches that it invalidates.

use std::{
    sync::{
        Mutex as SyncMutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, watch};

use crate::{
    app::App,
    error::Error,
    keys::{Due, KeysError},
    revocations,
    store::{
        Store, StoreError,
        changes::{self, Changes},
    },
};

/// The state of this server's sync.
#[derive(Debug, Default)]
pub struct SyncState {
    /// The row that was synced last. Locked while a sync runs: of two concurrent syncs, the one with the older row could
    /// finish last, and overwrite the caches with it.
    last: Mutex<Last>,
    /// The number of syncs that have started.
    begun: AtomicU64,
    /// The number of the latest sync that has finished.
    finished: watch::Sender<u64>,
    news: watch::Sender<News>,
    /// When the latest sync that succeeded began; `None`: there was none.
    synced_at: SyncMutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Last {
    row: Option<Changes>,
    failed: bool,
}

/// The numbers that long polls wait to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    revocations: i64,
    signing_keys: i64,
    /// Replaced when scopes change.
    pub(crate) roles: i64,
}

impl SyncState {
    /// Returns the number of requests that wait for news.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.news.receiver_count()
    }

    /// Returns the time since the caches were as the database.
    pub(crate) fn lag(&self) -> Duration {
        let synced_at = self.synced_at.lock().unwrap_or_else(PoisonError::into_inner);
        synced_at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Returns a receiver that is notified of news.
    pub(crate) fn subscribe(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Returns the number that is replaced when scopes change.
    pub(crate) fn version_of_scopes(&self) -> i64 {
        self.news.borrow().roles
    }

    /// Waits until a sync that starts after this call has finished. It does not start one, since the server does so
    /// several times a second: unauthenticated requests must not cost a statement or a lock.
    pub(crate) async fn next(&self, timeout: Duration) -> Result<(), StoreError> {
        // A sync that is running may have read the row before this call: only a later one counts.
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.finished.subscribe();
        match tokio::time::timeout(timeout, finished.wait_for(|finished| *finished >= next)).await {
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }
}

impl App {
    /// Syncs the caches with the database. Single-flight: callers that wait while a sync runs share the next one.
    /// `store`: the app's, or a copy with a statement counter of its own.
    pub(crate) async fn sync_caches(&self, store: &Store) -> Result<(), Error> {
        // Read before waiting for the lock: it tells which syncs started after this call.
        let begun = self.sync.begun.load(Ordering::SeqCst);
        let mut last = self.sync.last.lock().await;
        if *self.sync.finished.borrow() > begun {
            // That sync started after this call, and so has seen all that was committed before it. Its failure is this
            // call's failure, too: a success would let the caller rely on stale caches.
            let failed = || StoreError::Unavailable(sqlx::Error::PoolTimedOut);
            return if last.failed { Err(failed().into()) } else { Ok(()) };
        }
        let number = self.sync.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let started_at = Instant::now();
        let done = self.read_changes(store, &mut last.row).await;
        last.failed = done.is_err();
        if done.is_ok() {
            *self.sync.synced_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(started_at);
        }
        self.sync.finished.send_replace(number);
        done
    }

    async fn read_changes(&self, store: &Store, last: &mut Option<Changes>) -> Result<(), Error> {
        let mut conn = store.read().await?;
        let row = changes::read(&mut conn).await?;
        if last.as_ref() == Some(&row) {
            // Nothing has changed. The guard still has to know: it refuses all tokens after too long without a sync.
            self.guard.apply_revocations([], false);
            return Ok(());
        }
        // The mark tells whether the numbers still mean the same revocations. After a restored backup, other revocations
        // may have the numbers of those that were read before.
        let after = match &*last {
            Some(last) if last.revocation_mark == row.revocation_mark => Some(row.revocations),
            Some(last) if revocations::is_continued(&mut conn, last).await? => Some(last.revocations),
            _ => None,
        };
        if after.is_none() {
            // The first sync, or a restored backup with another history: all caches are read again.
            *last = None;
        }
        let news = if after == Some(row.revocations) {
            Vec::new()
        } else {
            revocations::list_after(&mut conn, after.unwrap_or(0), self.now()).await?
        };
        drop(conn);
        // Revocations come first: a failure below must not keep revoked tokens valid.
        self.guard.apply_revocations(news, after.is_none());
        if last.as_ref().is_none_or(|last| last.clients != row.clients) {
            self.clients.invalidate(row.clients);
        }
        if last.as_ref().is_none_or(|last| last.signing_keys != row.signing_keys) {
            self.reload_keys(store).await?;
        }
        let news = News { revocations: row.revocations, signing_keys: row.signing_keys, roles: row.roles };
        // Stored last: if a step above fails, or this future is dropped, the next sync repeats all of it. The steps are
        // idempotent.
        *last = Some(row);
        // Long polls wake up after the caches are synced, and so never answer from stale ones.
        self.sync.news.send_if_modified(|known| std::mem::replace(known, news) != news);
        Ok(())
    }

    async fn reload_keys(&self, store: &Store) -> Result<(), Error> {
        self.keys.reload(store, self.now()).await?;
        let replaced = self.guard.replace_keys(&self.keys.jwk_set());
        Ok(replaced.map_err(|error| KeysError::Make(error.to_string()))?)
    }

    /// Rotates the signing keys on schedule. If several servers do so at the same time, one of them wins.
    pub(crate) async fn rotate_keys(&self, store: &Store) -> Result<(), Error> {
        let now = self.now();
        match self.keys.due(now) {
            None => return Ok(()),
            Some(Due::Reload) => {
                // A concurrent sync may read newer keys, which this must not overwrite.
                let _one_at_a_time = self.sync.last.lock().await;
                return self.reload_keys(store).await;
            }
            Some(Due::Publish) => {
                // Generated before the transaction, which holds locks. If another server was first, the key is thrown
                // away.
                let new = self.keys.generate(None).await?;
                store.transact(async |tx| self.keys.publish(tx, &new, now).await).await?;
            }
            Some(Due::Promote { active, next }) => {
                if store.transact(async |tx| self.keys.promote(tx, &active, &next, now).await).await? {
                    tracing::info!(kid = next, "another key signs from now on");
                }
            }
        }
        self.sync_caches(store).await
    }
}
