//! One connection of either engine, and the macros that send a statement over it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::Object;
use sqlx::{Sqlite, Transaction, pool::PoolConnection};

use super::{StoreError, connections::Pooled};

/// A connection, in a transaction or not. A transaction that is dropped without a commit is rolled back.
#[derive(Debug)]
pub struct Conn {
    pub(crate) link: Link,
    statements: Arc<AtomicU64>,
    timeout: Duration,
}

#[derive(Debug)]
pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(Line),
}

/// A line to Postgres. What may never answer again does not go back to the pool: it is closed, and the server at its other end
/// undoes what was not committed.
#[derive(Debug)]
pub(crate) struct Line {
    /// None once it was closed.
    conn: Option<Pooled>,
    broken: bool,
    in_transaction: bool,
}

impl Line {
    pub(super) fn new(conn: Pooled) -> Self {
        Self { conn: Some(conn), broken: false, in_transaction: false }
    }

    /// The connection for a statement whose end [`Line::settle`] is told.
    fn raw(&mut self) -> Result<&mut sqlx::PgConnection, StoreError> {
        let connection = self.conn.as_deref_mut().ok_or(StoreError::Unavailable(sqlx::Error::PoolClosed))?;
        connection.in_doubt = true;
        Ok(&mut connection.conn)
    }

    fn settle<T>(&mut self, done: &Result<T, StoreError>) {
        self.broken |= matches!(done, Err(StoreError::Unavailable(_)));
        if let Some(connection) = self.conn.as_deref_mut() {
            connection.in_doubt = false;
        }
    }

    async fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        // Until it is known to be over.
        self.in_transaction = true;
        self.control("BEGIN", timeout).await
    }

    async fn end(&mut self, sql: &'static str, timeout: Duration) -> Result<(), StoreError> {
        let done = self.control(sql, timeout).await;
        self.in_transaction = done.is_err();
        done
    }

    async fn control(&mut self, sql: &'static str, timeout: Duration) -> Result<(), StoreError> {
        let done = within(timeout, sqlx::raw_sql(sql).execute(self.raw()?)).await.map(drop);
        self.settle(&done);
        done
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if (self.broken || self.in_transaction)
            && let Some(conn) = self.conn.take()
        {
            drop(Object::take(conn));
        }
    }
}

/// What the macros run a statement on.
pub(crate) enum Raw<'c> {
    Sqlite(&'c mut sqlx::SqliteConnection),
    Postgres(&'c mut sqlx::PgConnection),
}

impl Conn {
    pub(super) fn new(link: Link, statements: Arc<AtomicU64>, timeout: Duration) -> Self {
        Self { link, statements, timeout }
    }

    /// On SQLite the transaction has begun with the connection.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        match &mut self.link {
            Link::Postgres(line) => line.begin(self.timeout).await,
            Link::Sqlite(_) | Link::SqliteTransaction(_) => Ok(()),
        }
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.link {
            Link::SqliteTransaction(transaction) => within(self.timeout, transaction.commit()).await,
            Link::Postgres(mut line) => line.end("COMMIT", self.timeout).await,
            Link::Sqlite(_) => Ok(()),
        }
    }

    /// So that the connection can be used again; one that is dropped in a transaction undoes it too.
    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        match self.link {
            Link::SqliteTransaction(transaction) => within(self.timeout, transaction.rollback()).await,
            Link::Postgres(mut line) if !line.broken => line.end("ROLLBACK", self.timeout).await,
            Link::Postgres(_) | Link::Sqlite(_) => Ok(()),
        }
    }

    /// Counts one statement and gives the connection for it, and how long it may take.
    pub(crate) fn raw(&mut self) -> Result<(Raw<'_>, Duration), StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let raw = match &mut self.link {
            Link::Sqlite(conn) => Raw::Sqlite(conn),
            Link::SqliteTransaction(conn) => Raw::Sqlite(conn),
            Link::Postgres(line) => Raw::Postgres(line.raw()?),
        };
        Ok((raw, self.timeout))
    }

    /// Notes whether the connection can be trusted after a statement.
    pub(crate) fn settle<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Link::Postgres(line) = &mut self.link {
            line.settle(&done);
        }
        done
    }
}

/// The engine ends a statement that takes too long by itself; a network that swallows everything ends here.
pub(crate) async fn within<T>(
    timeout: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout + Duration::from_secs(1), statement).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// Runs the same code on a connection of either engine.
macro_rules! on_engine {
    ($conn:expr, |$raw:ident| $statement:expr) => {{
        let done = match $conn.raw() {
            Ok(($crate::store::conn::Raw::Sqlite($raw), timeout)) => {
                $crate::store::conn::within(timeout, $statement).await
            }
            Ok(($crate::store::conn::Raw::Postgres($raw), timeout)) => {
                $crate::store::conn::within(timeout, $statement).await
            }
            Err(error) => Err(error),
        };
        $conn.settle(done)
    }};
}
pub(crate) use on_engine;

/// Runs a statement for its effect, and returns the number of rows that it affected.
macro_rules! execute {
    ($conn:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, |raw| async {
            Ok(sqlx::query($sql)$(.bind($bind))*.execute(raw).await?.rows_affected())
        })
    };
}
pub(crate) use execute;

/// Returns one row of a type, or none.
macro_rules! optional {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, |raw| {
            sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_optional(raw)
        })
    };
}
pub(crate) use optional;

/// Returns all rows, of a type.
macro_rules! all {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, |raw| sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(raw))
    };
}
pub(crate) use all;

/// Returns all rows, of a type; the binds are repeated for each of many.
macro_rules! all_of {
    ($conn:expr, $row:ty, $sql:expr, $many:expr, |$one:ident| [$($bind:expr),+ $(,)?] $(,)?) => {
        $crate::store::conn::on_engine!($conn, |raw| {
            let mut query = sqlx::query_as::<_, $row>($sql);
            for $one in $many {
                query = query$(.bind($bind))+;
            }
            query.fetch_all(raw)
        })
    };
}
pub(crate) use all_of;

/// Returns the one value of the one row.
macro_rules! scalar {
    ($conn:expr, $value:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, |raw| {
            sqlx::query_scalar::<_, $value>($sql)$(.bind($bind))*.fetch_one(raw)
        })
    };
}
pub(crate) use scalar;
