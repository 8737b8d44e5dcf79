//! The database: SQLite in a file, or Postgres. Each statement is written once and runs on both.
//!
//! [`Store::read`] gives a connection that may only read, [`Store::write`] one for a change of a single statement,
//! and [`Store::transact`] runs several as one. The macros of `conn` send a statement over any of them.

pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod conn;
mod connections;
mod error;
mod migrate;
pub(crate) mod pages;
mod transaction;

use std::{
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use conn::Conn;
pub use error::StoreError;
use sqlx::{
    ConnectOptions, SqlitePool,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tracing::log::LevelFilter;
pub use transaction::{FromStore, Revocation, TokensExpire, Transaction};

use self::{
    conn::{Line, Link},
    connections::Connections,
};
use crate::{
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl},
};

/// Names the statements of a feature whose plans a test looks at.
macro_rules! hot {
    ($($name:ident),+) => {
        pub(crate) const HOT: &[(&str, &str)] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+];
    };
}
pub(crate) use hot;

/// How often work is tried when the engine asks to have it repeated.
const TRIES: usize = 5;
const SQLITE_READERS: u32 = 4;

/// The database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    statements: Arc<AtomicU64>,
    /// How long one statement may take, and how long a request waits for a connection.
    timeout: Duration,
    /// The time of commits.
    clock: Clock,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite { readers: SqlitePool, writer: SqlitePool },
    Postgres(Arc<Connections>),
}

impl Store {
    /// Connects and brings the schema up to date. Several servers may do this at once: one migrates, the others wait.
    pub async fn open(config: &DatabaseConfig, clock: Clock) -> Result<Self, StoreError> {
        let engine = match &config.url {
            DatabaseUrl::Sqlite(path) => open_sqlite(path, config).await,
            DatabaseUrl::Postgres(url) => open_postgres(url, config).await,
        };
        let engine =
            engine.map_err(|error| StoreError::Open { database: config.url.description(), error: Box::new(error) })?;
        Ok(Self { engine, statements: Arc::default(), timeout: config.timeout, clock })
    }

    /// A connection for statements that change nothing.
    //
    // What waits for one is large, and in a box here and below: each handler that may come to need a connection would be as
    // large, and is moved several times on its way.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        let link = match &self.engine {
            Engine::Sqlite { readers, .. } => Link::Sqlite(Box::pin(readers.acquire()).await?),
            Engine::Postgres(connections) => Link::Postgres(Line::new(Box::pin(connections.acquire()).await?)),
        };
        Ok(self.conn(link))
    }

    /// A connection for a change that is one statement: what it did is durable when the statement returns.
    pub async fn write(&self) -> Result<Conn, StoreError> {
        let link = match &self.engine {
            Engine::Sqlite { writer, .. } => Link::Sqlite(Box::pin(writer.acquire()).await?),
            Engine::Postgres(connections) => Link::Postgres(Line::new(Box::pin(connections.acquire()).await?)),
        };
        Ok(self.conn(link))
    }

    /// Runs `work` in a transaction: all of it is durable when this returns `Ok`, and nothing happened when it returns `Err`.
    /// Where the engine asks for it (a lost race), the whole is repeated, a few times; `work` must therefore change nothing
    /// but the database.
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

    /// Runs `work` in a transaction and rolls it back: what a change would come to.
    pub async fn dry_run<T, E: FromStore>(&self, work: impl AsyncFn(&mut Transaction) -> Result<T, E>) -> Result<T, E> {
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await;
        transaction.roll_back().await?;
        done
    }

    async fn begin(&self) -> Result<Transaction, StoreError> {
        let link = match &self.engine {
            // IMMEDIATE: a transaction that begins by reading could not be raised to a writing one without a race.
            Engine::Sqlite { writer, .. } => Link::SqliteTransaction(writer.begin_with("BEGIN IMMEDIATE").await?),
            Engine::Postgres(connections) => Link::Postgres(Line::new(Box::pin(connections.acquire()).await?)),
        };
        let mut conn = self.conn(link);
        conn.begin().await?;
        Ok(Transaction::new(conn, self.clock.clone()))
    }

    fn conn(&self, link: Link) -> Conn {
        Conn::new(link, self.statements.clone(), self.timeout)
    }

    /// How many statements were sent so far, those that begin and end transactions not counted.
    #[must_use]
    pub fn statements_run(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// How long a statement may take, and a request may wait for one.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether it is Postgres.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// The same database for the server's own duties, whose statements are not counted among those of requests.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { statements: Arc::default(), ..self.clone() }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.read().await?;
        conn::scalar!(conn, i32, "SELECT 1")?;
        Ok(())
    }

    /// Closes all connections; for SQLite, what is in the write-ahead log goes into the file.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { readers, writer } => {
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
        // An answer of success means that it is on disk, also after a loss of power.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(config.timeout)
        .disable_statement_logging();
    let _lock = migrate::lock_file(path).await?;
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.timeout)
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await?;
    migrate::sqlite(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(config.timeout)
        .test_before_acquire(false)
        .connect_with(options.read_only(true).create_if_missing(false))
        .await?;
    Ok(Engine::Sqlite { readers, writer })
}

/// Does work again if the engine asks to have it repeated.
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
        .options([
            ("statement_timeout", config.timeout.as_millis().to_string()),
            // A server that fell silent in a transaction holds what others wait for.
            ("idle_in_transaction_session_timeout", (2 * config.timeout).as_millis().to_string()),
        ])
        .log_slow_statements(LevelFilter::Warn, config.timeout / 2)
        .log_statements(LevelFilter::Trace);
    let connections = Connections::new(options.clone(), config.connections, config.timeout)?;
    // Says why it cannot be reached before anybody waits for a migration.
    drop(connections.acquire().await?);
    migrate::postgres(&options).await?;
    Ok(Engine::Postgres(Arc::new(connections)))
}
