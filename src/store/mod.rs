//! The database: SQLite in a file, or Postgres. Each statement is written once and runs on both engines.
//!
//! [`Store::read`] returns a connection for reads, [`Store::write`] a connection for a single statement that changes
//! rows, and [`Store::transact`] runs several statements in a transaction. The macros of `conn` run a statement on each
//! of them.

pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod conn;
mod connections;
mod error;
mod existing;
mod file;
mod inspect;
mod migrate;
mod observer;
pub(crate) mod pages;
mod transaction;

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

pub use conn::Conn;
pub use error::StoreError;
pub(crate) use existing::exists;
pub(crate) use file::check_wal;
pub use file::{LockError, ServerLock, WalError};
pub use inspect::{Migration, Schema};
pub use observer::Errors;
use sqlx::{
    ConnectOptions, SqlitePool,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Semaphore;
use tracing::log::LevelFilter;
pub use transaction::{FromStore, Revocation, TokensExpire, Transaction};

use self::{
    conn::{Line, Link},
    connections::Connections,
    file::OpenFile,
    observer::Observer,
};
use crate::{
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl},
    traces::Traces,
};

/// Lists the hot statements of a feature, whose query plans a test checks.
macro_rules! hot {
    ($($name:ident),+) => {
        pub(crate) const HOT: &[(&str, &str)] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+];
    };
}
pub(crate) use hot;

/// The maximum number of attempts at a transaction for which the engine asks for a retry.
const TRIES: usize = 5;
const SQLITE_READERS: u32 = 4;
/// How long the write-ahead log may be waited for at the end of a server.
const EMPTY_LOG: Duration = Duration::from_secs(2);

/// The database. Clones share its connection pools.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    observer: Arc<Observer>,
    /// The timeout of a statement, and the longest wait for a connection.
    timeout: Duration,
    /// The time of commits.
    clock: Clock,
    /// The places of [`Store::half`]; `None`: all connections.
    places: Option<Arc<Semaphore>>,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite { readers: SqlitePool, writer: SqlitePool, file: Arc<OpenFile> },
    Postgres(Arc<Connections>),
}

impl Store {
    /// Connects and runs the migrations. Of several servers that start at once, one migrates and the others wait.
    pub async fn open(config: &DatabaseConfig, clock: Clock) -> Result<Self, StoreError> {
        let engine = match &config.url {
            DatabaseUrl::Sqlite(path) => open_sqlite(path, config).await,
            DatabaseUrl::Postgres(url) => open_postgres(url, config).await,
        };
        let engine = engine.map_err(|error| error.at_open(&config.url))?;
        Ok(Self::new(engine, config.timeout, clock))
    }

    fn new(engine: Engine, timeout: Duration, clock: Clock) -> Self {
        // The names of OpenTelemetry's conventions.
        let system = if matches!(engine, Engine::Postgres(_)) { "postgresql" } else { "sqlite" };
        Self { engine, observer: Arc::new(Observer::new(system)), timeout, clock, places: None }
    }

    /// Returns the same database, with a span for each statement of a request.
    #[must_use]
    pub fn with_traces(self, traces: &Traces) -> Self {
        Self { observer: Arc::new(self.observer.tracing(traces)), ..self }
    }

    /// Returns a connection for statements that change nothing.
    //
    // The future of `acquire` is large, so it is boxed here and below: otherwise the future of each handler would contain
    // it, and be moved with it several times.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        let link = match &self.engine {
            Engine::Sqlite { readers, .. } => Box::pin(readers.acquire()).await.map(Link::Sqlite),
            Engine::Postgres(connections) => Box::pin(self.line(connections)).await,
        };
        self.conn(link)
    }

    /// Returns a connection for a change that is one statement, which is durable when the statement returns.
    pub async fn write(&self) -> Result<Conn, StoreError> {
        let link = match &self.engine {
            Engine::Sqlite { writer, .. } => Box::pin(writer.acquire()).await.map(Link::Sqlite),
            Engine::Postgres(connections) => Box::pin(self.line(connections)).await,
        };
        self.conn(link)
    }

    /// Runs `work` in a transaction. `Ok`: all of it is committed and durable; `Err`: all of it is rolled back.
    ///
    /// If the engine asks for a retry (deadlock, serialization failure), `work` runs again, up to five times in all. It
    /// must be idempotent apart from the database: everything else that it changed would be changed again.
    pub async fn transact<T, E: FromStore>(
        &self,
        work: impl AsyncFn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        retried(|| self.transact_once(&work)).await
    }

    async fn transact_once<T, E: FromStore>(
        &self,
        work: &impl AsyncFn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.begin().await?;
        let done = match work(&mut transaction).await {
            // Flushed after all other statements: `changes` is the last row that a transaction locks (see
            // `transaction.rs`).
            Ok(done) => transaction.flush().await.map(|()| done).map_err(E::from),
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => {
                transaction.commit().await?;
                Ok(done)
            }
            Err(error) => {
                if let Err(error) = transaction.roll_back().await {
                    tracing::debug!(%error, "a transaction was rolled back with its connection");
                }
                Err(error)
            }
        }
    }

    /// Runs `work` in a transaction and rolls it back: a dry run of a change.
    pub async fn dry_run<T, E: FromStore>(&self, work: impl AsyncFn(&mut Transaction) -> Result<T, E>) -> Result<T, E> {
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await;
        transaction.roll_back().await?;
        done
    }

    async fn begin(&self) -> Result<Transaction, StoreError> {
        let link = match &self.engine {
            // IMMEDIATE locks for writing at once: a transaction that reads first fails with SQLITE_BUSY_SNAPSHOT at its
            // first write if another connection has written in between.
            Engine::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Link::SqliteTransaction),
            Engine::Postgres(connections) => Box::pin(self.line(connections)).await,
        };
        let mut conn = self.conn(link)?;
        conn.begin().await?;
        Ok(Transaction::new(conn, self.clock.clone()))
    }

    /// Takes a connection to Postgres within the timeout, which covers the wait for a place of [`Store::half`].
    async fn line(&self, connections: &Connections) -> Result<Link, sqlx::Error> {
        let Some(places) = &self.places else {
            return Ok(Link::Postgres(Line::new(connections.acquire().await?, None)));
        };
        let take = async {
            let place = Arc::clone(places).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            Ok(Link::Postgres(Line::new(connections.acquire().await?, Some(place))))
        };
        tokio::time::timeout(self.timeout, take).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    fn conn(&self, link: Result<Link, sqlx::Error>) -> Result<Conn, StoreError> {
        let link = link.map_err(StoreError::from);
        self.observer.end(&link, None);
        Ok(Conn::new(link?, Arc::clone(&self.observer), self.timeout))
    }

    /// Returns the number of statements so far, without those that begin and end transactions.
    #[must_use]
    pub fn statements_run(&self) -> u64 {
        self.observer.statements()
    }

    /// Returns the failed statements and connections so far, also those of background duties.
    #[must_use]
    pub fn errors(&self) -> &Errors {
        self.observer.errors()
    }

    /// Returns the numbers of idle connections and of those in use.
    #[must_use]
    pub fn connections(&self) -> (u64, u64) {
        let (idle, open) = match &self.engine {
            Engine::Sqlite { readers, writer, .. } => {
                (readers.num_idle() + writer.num_idle(), (readers.size() + writer.size()) as usize)
            }
            Engine::Postgres(connections) => connections.idle_and_open(),
        };
        (idle as u64, open.saturating_sub(idle) as u64)
    }

    /// Returns the traces of this database's statements.
    pub(crate) fn traces(&self) -> &Traces {
        self.observer.traces()
    }

    /// Returns the timeout of a statement, which is also the longest wait of a request for a connection or a batch.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns whether the database is Postgres.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Returns the same database with a statement counter of its own, for background duties.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { observer: Arc::new(self.observer.aside()), ..self.clone() }
    }

    /// Returns the same database with half of its connections to Postgres, for statements that strangers cause without
    /// limit: the requests of others find a connection free. SQLite's connections are never waited for that long.
    #[must_use]
    pub fn half(&self) -> Self {
        let places = match &self.engine {
            Engine::Sqlite { .. } => None,
            Engine::Postgres(connections) => Some(Arc::new(Semaphore::new((connections.most() / 2).max(1)))),
        };
        Self { places, ..self.clone() }
    }

    /// Checks that a SQLite file was not deleted or replaced since it was opened. If it was, that is logged once.
    pub async fn check_file(&self) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite { file, .. } => file.check().await,
            Engine::Postgres(_) => Ok(()),
        }
    }

    /// Pings the database, and checks that a SQLite file is still the one that was opened.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.check_file().await?;
        let mut conn = self.read().await?;
        conn::scalar!(conn, i32, "SELECT 1")?;
        Ok(())
    }

    /// Discards the connections that worker threads have opened, once these have ended: nothing serves their sockets.
    pub fn leave_workers(&self) {
        if let Engine::Postgres(connections) = &self.engine {
            connections.distrust();
        }
    }

    /// Writes the write-ahead log of SQLite into the database file, and empties it. A failure is logged only.
    ///
    /// SQLite does it itself when its last connection is closed. That may be one of a duty that was aborted while it opened the
    /// connection.
    pub async fn empty_log(&self) {
        let Engine::Sqlite { writer, .. } = &self.engine else { return };
        let Ok(mut conn) = writer.acquire().await else { return };
        // 0: done; 1: a reader of another process needs the log.
        let done = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn);
        let done = tokio::time::timeout(EMPTY_LOG, done).await;
        if !matches!(done, Ok(Ok(0))) {
            tracing::debug!(?done, "the write-ahead log stays for the next start");
        }
    }

    /// Closes all connections. SQLite then writes the write-ahead log (WAL) into the database file.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { readers, writer, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres(connections) => connections.close().await,
        }
    }
}

async fn open_sqlite(path: &Path, config: &DatabaseConfig) -> Result<Engine, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A committed change is on disk before the response, and survives a power loss: NORMAL could lose a revocation.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(config.timeout)
        .disable_statement_logging();
    let _lock = migrate::lock_file(path).await?;
    let pool = SqlitePoolOptions::new()
        // Connections are not renewed: if the file was replaced, a new one would read or create another database.
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(config.timeout)
        .test_before_acquire(false);
    // SQLite allows one writer. With one connection, writers queue here, fairly, instead of polling a busy database file.
    let writer = pool.clone().max_connections(1).connect_with(options.clone()).await?;
    migrate::sqlite(&writer).await?;
    let readers =
        pool.max_connections(SQLITE_READERS).connect_with(options.read_only(true).create_if_missing(false)).await?;
    let file = Arc::new(OpenFile::new(path).await?);
    Ok(Engine::Sqlite { readers, writer, file })
}

/// Runs work, and retries it if the engine asks for a retry.
pub(crate) async fn retried<T, E: FromStore, F: Future<Output = Result<T, E>>>(work: impl Fn() -> F) -> Result<T, E> {
    for _ in 1..TRIES {
        match work().await {
            Err(error) if error.store().is_some_and(StoreError::asks_for_retry) => {}
            done => return done,
        }
    }
    work().await
}

async fn open_postgres(url: &str, config: &DatabaseConfig) -> Result<Engine, StoreError> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("grantd")
        .log_slow_statements(LevelFilter::Warn, config.timeout / 2)
        .log_statements(LevelFilter::Trace);
    let connections = Connections::new(options.clone(), config.connections, config.timeout)?;
    // Reports an unreachable database before the migration, which has no timeout.
    drop(connections.acquire().await?);
    migrate::postgres(&options, config.timeout).await?;
    Ok(Engine::Postgres(Arc::new(connections)))
}
