//! The connections to Postgres.
//!
//! Not sqlx's own pool: that asks each connection for a sign of life when it is given back, which doubles the round trips of
//! a request, and waits for the answer as long as TCP lets it. Here a connection is asked only where there is doubt.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, Timeouts};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

/// A connection that was lent longer ago is asked whether it still lives, before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// A connection that is older is replaced: it may hold on to a server that should be spared.
const LIFETIME: Duration = Duration::from_mins(30);

/// A bounded number of connections, which are made when they are needed.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Server>,
    patience: Duration,
}

/// A connection that was lent.
pub(super) type Lent = Object<Server>;

/// A connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) conn: PgConnection,
    /// Whether a statement was begun whose end nobody has seen.
    pub(super) in_doubt: bool,
}

/// Where connections lead.
#[derive(Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
    /// How long a connection may take to give a sign of life.
    patience: Duration,
    /// When one was last found dead. Those that are older are no better: the server restarted, or moved.
    found_dead: Mutex<Option<Instant>>,
}

impl Connections {
    /// `most`: the most connections; `patience`: how long somebody waits for one.
    pub(super) fn new(options: PgConnectOptions, most: u32, patience: Duration) -> Result<Self, sqlx::Error> {
        let server = Server { options, patience: patience / 2, found_dead: Mutex::default() };
        let config = PoolConfig { max_size: most as usize, timeouts: Timeouts::default(), queue_mode: QueueMode::Lifo };
        let pool = Pool::builder(server).config(config).build().map_err(sqlx::Error::config)?;
        Ok(Self { pool, patience })
    }

    pub(super) async fn acquire(&self) -> Result<Lent, sqlx::Error> {
        match tokio::time::timeout(self.patience, self.pool.get()).await {
            Ok(Ok(lent)) => Ok(lent),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for held in idle {
            // It ends with the process at the latest.
            let _ = held.conn.close().await;
        }
    }
}

impl Server {
    async fn lives(&self, conn: &mut PgConnection) -> bool {
        matches!(tokio::time::timeout(self.patience, conn.ping()).await, Ok(Ok(())))
    }

    fn found_dead(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.found_dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager for Server {
    type Type = Held;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Held, sqlx::Error> {
        // Large and rare.
        Ok(Held { conn: Box::pin(self.options.connect()).await?, in_doubt: false })
    }

    async fn recycle(&self, held: &mut Held, metrics: &Metrics) -> Result<(), RecycleError<sqlx::Error>> {
        let distrusted = self.found_dead().is_some_and(|at| metrics.created < at);
        if distrusted || metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        if held.in_doubt || metrics.last_used() > TRUSTED {
            if !self.lives(&mut held.conn).await {
                *self.found_dead() = Some(Instant::now());
                return Err(RecycleError::message("it is dead"));
            }
            held.in_doubt = false;
        }
        Ok(())
    }
}
