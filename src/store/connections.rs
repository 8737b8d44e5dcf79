//! The connections to Postgres.
//!
//! Not sqlx's own pool: that pings each connection when it is returned, which doubles the round trips of a request, and waits
//! for the answer as long as TCP lets it. Here a connection is pinged only when it may be dead.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, Timeouts};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

/// A connection that was idle for longer is pinged before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// A connection that is older is replaced, so that connections spread over servers again after one was away.
const LIFETIME: Duration = Duration::from_mins(30);

/// A bounded number of connections, opened when they are needed.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Server>,
    timeout: Duration,
}

/// A connection of the pool.
pub(super) type Pooled = Object<Server>;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) conn: PgConnection,
    /// Whether a statement was begun whose end nobody has seen.
    pub(super) in_doubt: bool,
}

/// Where connections lead.
#[derive(Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
    /// How long a connection may take to answer a ping.
    timeout: Duration,
    /// When one was last found dead. Those that are older are no better: the server restarted, or moved.
    found_dead: Mutex<Option<Instant>>,
}

impl Connections {
    /// `most`: the most connections; `timeout`: how long somebody waits for one.
    pub(super) fn new(options: PgConnectOptions, most: u32, timeout: Duration) -> Result<Self, sqlx::Error> {
        let server = Server { options, timeout: timeout / 2, found_dead: Mutex::default() };
        let config = PoolConfig { max_size: most as usize, timeouts: Timeouts::default(), queue_mode: QueueMode::Lifo };
        let pool = Pool::builder(server).config(config).build().map_err(sqlx::Error::config)?;
        Ok(Self { pool, timeout })
    }

    pub(super) async fn acquire(&self) -> Result<Pooled, sqlx::Error> {
        match tokio::time::timeout(self.timeout, self.pool.get()).await {
            Ok(Ok(pooled)) => Ok(pooled),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for connection in idle {
            // It ends with the process at the latest.
            let _ = connection.conn.close().await;
        }
    }
}

impl Server {
    async fn lives(&self, conn: &mut PgConnection) -> bool {
        matches!(tokio::time::timeout(self.timeout, conn.ping()).await, Ok(Ok(())))
    }

    fn found_dead(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.found_dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager for Server {
    type Type = Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Connection, sqlx::Error> {
        // Large and rare.
        Ok(Connection { conn: Box::pin(self.options.connect()).await?, in_doubt: false })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> Result<(), RecycleError<sqlx::Error>> {
        let distrusted = self.found_dead().is_some_and(|at| metrics.created < at);
        if distrusted || metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        if connection.in_doubt || metrics.last_used() > TRUSTED {
            if !self.lives(&mut connection.conn).await {
                *self.found_dead() = Some(Instant::now());
                return Err(RecycleError::message("it is dead"));
            }
            connection.in_doubt = false;
        }
        Ok(())
    }
}
