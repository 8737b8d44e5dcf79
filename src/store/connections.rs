//! The connection pool of Postgres.
//!
//! It replaces sqlx's pool, which pings each connection on return: that doubles the round trips of a request, and a ping
//! waits for as long as TCP allows. This pool pings a connection only if it may be dead.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, Timeouts};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};

/// A connection that was idle for longer than this is pinged before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// The maximum lifetime of a connection: replacing them spreads connections over all database servers again after a
/// failover.
const LIFETIME: Duration = Duration::from_mins(30);

/// A bounded pool of connections, opened on demand.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Server>,
    timeout: Duration,
}

/// A connection of the pool.
pub(super) type Pooled = Object<Server>;

/// A Postgres connection and its state.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) conn: PgConnection,
    /// Whether a statement was started and its result was not read.
    pub(super) in_doubt: bool,
}

/// The database server: opens and checks connections.
#[derive(Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
    /// Whether a server that refuses changes is refused.
    must_write: bool,
    /// The timeout of a statement. A ping has half of it.
    timeout: Duration,
    /// When a connection was last found dead. All older connections are discarded: the server has restarted or moved.
    found_dead: Mutex<Option<Instant>>,
}

impl Connections {
    /// Creates a pool. `most`: the maximum number of connections; `timeout`: the longest wait for a connection.
    pub(super) fn new(options: PgConnectOptions, most: u32, timeout: Duration) -> Result<Self, sqlx::Error> {
        Self::of(Server { options, must_write: true, timeout, found_dead: Mutex::default() }, most)
    }

    /// Creates a pool of one connection for reading, also to a server or with a login that refuses changes.
    pub(super) fn for_reading(options: PgConnectOptions, timeout: Duration) -> Result<Self, sqlx::Error> {
        Self::of(Server { options, must_write: false, timeout, found_dead: Mutex::default() }, 1)
    }

    fn of(server: Server, most: u32) -> Result<Self, sqlx::Error> {
        let timeout = server.timeout;
        let config = PoolConfig { max_size: most as usize, timeouts: Timeouts::default(), queue_mode: QueueMode::Lifo };
        let pool = Pool::builder(server).config(config).build().map_err(sqlx::Error::config)?;
        Ok(Self { pool, timeout })
    }

    /// Takes a connection from the pool, or opens one.
    pub(super) async fn acquire(&self) -> Result<Pooled, sqlx::Error> {
        match tokio::time::timeout(self.timeout, self.pool.get()).await {
            Ok(Ok(pooled)) => Ok(pooled),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Returns the maximum number of connections.
    pub(super) fn most(&self) -> usize {
        self.pool.status().max_size
    }

    /// Returns the numbers of idle and of open connections.
    pub(super) fn idle_and_open(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.available, status.size)
    }

    /// Discards all connections that were opened until now, once they are returned.
    pub(super) fn distrust(&self) {
        self.pool.manager().distrust();
    }

    /// Closes the idle connections, and refuses new requests.
    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for connection in idle {
            // A failed close is harmless: the socket ends with the process.
            let _ = connection.conn.close().await;
        }
    }
}

impl Server {
    /// Discards all connections that were opened until now, once they are returned: the server has stopped, or another
    /// one has replaced it.
    pub(super) fn distrust(&self) {
        *self.found_dead() = Some(Instant::now());
    }

    /// Returns whether a connection answers within half of the timeout.
    pub(super) async fn lives(&self, conn: &mut PgConnection) -> bool {
        matches!(tokio::time::timeout(self.timeout / 2, conn.ping()).await, Ok(Ok(())))
    }

    fn found_dead(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.found_dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager for Server {
    type Type = Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Connection, sqlx::Error> {
        // Boxed: the future is large, and connecting is rare.
        let (conn, writable) = Box::pin(open(&self.options, self.timeout, self.timeout)).await?;
        if self.must_write {
            writable?;
        }
        Ok(Connection { conn, in_doubt: false })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> Result<(), RecycleError<sqlx::Error>> {
        // Without this, each connection of a restarted server would cost a request a ping, or a failed statement.
        let distrusted = self.found_dead().is_some_and(|at| metrics.created < at);
        if distrusted || metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        // A ping also waits for the end of a cancelled statement, for which the next request would wait otherwise.
        if connection.in_doubt || metrics.last_used() > TRUSTED {
            if !self.lives(&mut connection.conn).await {
                // One in doubt may wait for a long statement of a caller who left, which says nothing of the others.
                if !connection.in_doubt {
                    self.distrust();
                }
                return Err(RecycleError::message("it is dead"));
            }
            connection.in_doubt = false;
        }
        Ok(())
    }
}

/// Opens a connection to a server that accepts changes. `timeout`: the maximum duration of a statement (0: none); `idle`:
/// half of the longest pause in a transaction.
pub(super) async fn connect(
    options: &PgConnectOptions,
    timeout: Duration,
    idle: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let (conn, writable) = open(options, timeout, idle).await?;
    writable.map(|()| conn)
}

/// Opens a connection, and finds out whether the server accepts changes.
async fn open(
    options: &PgConnectOptions,
    timeout: Duration,
    idle: Duration,
) -> Result<(PgConnection, Result<(), sqlx::Error>), sqlx::Error> {
    let mut conn = options.connect().await?;
    // Set here and not with the options of the start, which PgBouncer refuses. One round trip.
    // A server that hangs or vanishes in a transaction would keep its locks, and block the others.
    let setup = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SHOW transaction_read_only",
        timeout.as_millis(),
        (2 * idle).as_millis()
    );
    let row = sqlx::raw_sql(AssertSqlSafe(setup)).fetch_one(&mut conn).await?;
    // During a failover, the name may lead to a standby. Its rows may be older than a revocation.
    let writable = match row.try_get::<String, _>(0)?.as_str() {
        "off" => Ok(()),
        _ => Err(sqlx::Error::Io(io::Error::other("the server is read-only, such as a standby"))),
    };
    Ok((conn, writable))
}
