//! The connections to Postgres.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;
use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A pool, and another in its place when all its connections have fallen silent.
///
/// Each connection that is given back is asked for a sign of life, and sqlx waits for that as long as the system lets it:
/// a quarter of an hour on Linux, in which the pool has no place for another. A database that moved to another machine
/// and ended no connection would be away for as long.
#[derive(Debug)]
pub(super) struct Connections {
    pool: ArcSwap<PgPool>,
    options: PgPoolOptions,
    server: PgConnectOptions,
    /// When a connection was last lent.
    lent_at: Mutex<Instant>,
}

impl Connections {
    pub(super) fn new(pool: PgPool, options: PgPoolOptions, server: PgConnectOptions) -> Self {
        Self { pool: ArcSwap::from_pointee(pool), options, server, lent_at: Mutex::new(Instant::now()) }
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let pool = self.pool.load_full();
        let acquired = pool.acquire().await;
        match &acquired {
            Ok(_) => *self.lent_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
            Err(sqlx::Error::PoolTimedOut) => self.replace(&pool),
            Err(_) => {}
        }
        acquired
    }

    pub(super) async fn close(&self) {
        self.pool.load_full().close().await;
    }

    /// Gives the pool up, unless somebody got a connection of it while this one waited: then it is only busy.
    fn replace(&self, pool: &Arc<PgPool>) {
        let mut lent_at = self.lent_at.lock().unwrap_or_else(PoisonError::into_inner);
        if lent_at.elapsed() < self.options.get_acquire_timeout() || !Arc::ptr_eq(pool, &self.pool.load()) {
            return;
        }
        *lent_at = Instant::now();
        self.pool.store(Arc::new(self.options.clone().connect_lazy_with(self.server.clone())));
        // It lends no more from now on; nobody waits for its connections to end.
        drop(pool.close());
    }
}
