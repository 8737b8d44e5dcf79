//! Connections to either engine, and the macros that run a statement on one.

use std::{future::Future, sync::Arc, time::Duration};

use deadpool::managed::Object;
use sqlx::{Sqlite, Transaction, pool::PoolConnection};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use super::{StoreError, connections::Pooled, observer::Observer};
use crate::traces::Statement;

/// A connection, in a transaction or not. A transaction that is dropped without a commit is rolled back.
#[derive(Debug)]
pub struct Conn {
    pub(crate) link: Link,
    observer: Arc<Observer>,
    timeout: Duration,
}

#[derive(Debug)]
pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(Line),
}

/// A Postgres connection from the pool. It is closed, not returned to the pool, if it timed out or is still in a
/// transaction: Postgres rolls back what was not committed.
#[derive(Debug)]
pub(crate) struct Line {
    /// `None` after it was closed.
    conn: Option<Pooled>,
    broken: bool,
    in_transaction: bool,
    /// The place of a holder of half of the connections.
    place: Option<OwnedSemaphorePermit>,
}

impl Line {
    pub(super) fn new(conn: Pooled, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { conn: Some(conn), broken: false, in_transaction: false, place }
    }

    /// Returns the connection for a statement, whose result is passed to [`Line::settle`].
    fn raw(&mut self) -> Result<&mut sqlx::PgConnection, StoreError> {
        let connection = self.conn.as_deref_mut().ok_or(StoreError::Unavailable(sqlx::Error::PoolClosed))?;
        // Until `settle`: if the caller is dropped in between, the connection may have an unread answer, and the pool
        // pings it.
        connection.in_doubt = true;
        Ok(&mut connection.conn)
    }

    fn settle<T>(&mut self, done: &Result<T, StoreError>) {
        // After a timeout the statement may still be running: the next user of this connection would wait for it.
        self.broken |= matches!(done, Err(StoreError::Unavailable(_)));
        if let Some(connection) = self.conn.as_mut() {
            connection.in_doubt = false;
            if done.as_ref().is_err_and(StoreError::lost_server)
                && let Some(pool) = Object::pool(connection)
            {
                pool.manager().distrust();
            }
        }
    }

    async fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        // Set before BEGIN is sent: a caller that is dropped here must not return an open transaction to the pool, where
        // it would keep its locks.
        self.in_transaction = true;
        self.control("BEGIN", timeout).await
    }

    async fn end(&mut self, sql: &'static str, timeout: Duration) -> Result<(), StoreError> {
        let done = self.control(sql, timeout).await;
        // A failed COMMIT or ROLLBACK leaves the state of the transaction unknown: `drop` closes the connection.
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
        let Some(conn) = self.conn.take() else { return };
        if self.broken || self.in_transaction {
            // Taken out of the pool, which opens another connection when it needs one.
            drop(Object::take(conn));
        } else if conn.in_doubt
            && let Some(place) = self.place.take()
            && let Ok(runtime) = Handle::try_current()
        {
            // The caller left during the statement. Connection and place are returned when it has ended: else callers who
            // leave would use more than their half.
            runtime.spawn(async move {
                give_back(conn).await;
                drop(place);
            });
        }
    }
}

/// Returns a connection to the pool when its statement has ended, or closes it.
async fn give_back(mut conn: Pooled) {
    let Some(pool) = Object::pool(&conn) else { return };
    if pool.manager().lives(&mut conn.conn).await {
        conn.in_doubt = false;
    } else {
        drop(Object::take(conn));
    }
}

/// The sqlx connection that the macros run a statement on.
pub(crate) enum Raw<'c> {
    Sqlite(&'c mut sqlx::SqliteConnection),
    Postgres(&'c mut sqlx::PgConnection),
}

impl Conn {
    pub(super) fn new(link: Link, observer: Arc<Observer>, timeout: Duration) -> Self {
        Self { link, observer, timeout }
    }

    /// Returns itself, for the macros: they evaluate their argument once, whatever it is.
    pub(crate) fn as_conn(&mut self) -> &mut Self {
        self
    }

    /// Begins a transaction. On SQLite it began with the connection.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let Link::Postgres(line) = &mut self.link else { return Ok(()) };
        let span = self.observer.begin("BEGIN", "BEGIN");
        let done = line.begin(self.timeout).await;
        self.observer.end(&done, span);
        done
    }

    /// Commits the transaction.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let span = self.observer.begin("COMMIT", "COMMIT");
        let done = match self.link {
            Link::SqliteTransaction(transaction) => within(self.timeout, transaction.commit()).await,
            Link::Postgres(mut line) => line.end("COMMIT", self.timeout).await,
            Link::Sqlite(_) => Ok(()),
        };
        self.observer.end(&done, span);
        done
    }

    /// Rolls back the transaction and keeps the connection for reuse. Dropping the connection rolls back too, but closes
    /// it on Postgres.
    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        match self.link {
            Link::SqliteTransaction(transaction) => within(self.timeout, transaction.rollback()).await,
            Link::Postgres(mut line) if !line.broken => line.end("ROLLBACK", self.timeout).await,
            Link::Postgres(_) | Link::Sqlite(_) => Ok(()),
        }
    }

    /// Counts a statement, and returns the connection to run it on with its timeout.
    pub(crate) fn raw(&mut self) -> Result<(Raw<'_>, Duration), StoreError> {
        self.observer.count();
        let raw = match &mut self.link {
            Link::Sqlite(conn) => Raw::Sqlite(conn),
            Link::SqliteTransaction(conn) => Raw::Sqlite(conn),
            Link::Postgres(line) => Raw::Postgres(line.raw()?),
        };
        Ok((raw, self.timeout))
    }

    /// Starts the span of a statement. `place`: see [`Traces::statement`](crate::traces::Traces::statement).
    pub(crate) fn trace(&self, place: &'static str, sql: &str) -> Option<Statement> {
        self.observer.begin(place, sql)
    }

    /// Records whether the connection can be reused after a statement, and returns the statement's result.
    pub(crate) fn settle<T>(&mut self, done: Result<T, StoreError>, span: Option<Statement>) -> Result<T, StoreError> {
        self.observer.end(&done, span);
        if let Link::Postgres(line) = &mut self.link {
            line.settle(&done);
        }
        done
    }
}

/// Runs a statement with a timeout. The engine itself cancels a slow statement, at `timeout`; one second later, this
/// catches a network that drops all packets.
pub(crate) async fn within<T>(
    timeout: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout + Duration::from_secs(1), statement).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// Runs the same code, a statement, on a connection of either engine. The statement's constant names its span.
macro_rules! on_engine {
    ($conn:expr, $sql:expr, |$raw:ident, $text:ident| $statement:expr) => {
        // Not `let`: the connection may be a temporary value.
        match $conn.as_conn() {
            conn => {
                let $text = sqlx::SqlSafeStr::into_sql_str($sql);
                let span = conn.trace(concat!(module_path!(), " ", stringify!($sql)), $text.as_str());
                let done = match conn.raw() {
                    Ok(($crate::store::conn::Raw::Sqlite($raw), timeout)) => {
                        $crate::store::conn::within(timeout, $statement).await
                    }
                    Ok(($crate::store::conn::Raw::Postgres($raw), timeout)) => {
                        $crate::store::conn::within(timeout, $statement).await
                    }
                    Err(error) => Err(error),
                };
                conn.settle(done, span)
            }
        }
    };
}
pub(crate) use on_engine;

/// Runs a statement for its effect, and returns the number of rows that it affected.
macro_rules! execute {
    ($conn:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, $sql, |raw, sql| async {
            Ok(sqlx::query(sql)$(.bind($bind))*.execute(raw).await?.rows_affected())
        })
    };
}
pub(crate) use execute;

/// Returns one row of a type, or none.
macro_rules! optional {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, $sql, |raw, sql| {
            sqlx::query_as::<_, $row>(sql)$(.bind($bind))*.fetch_optional(raw)
        })
    };
}
pub(crate) use optional;

/// Returns all rows, of a type.
macro_rules! all {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, $sql, |raw, sql| sqlx::query_as::<_, $row>(sql)$(.bind($bind))*.fetch_all(raw))
    };
}
pub(crate) use all;

/// Returns all rows, of a type; binds the parameters once for each item of `$many`.
macro_rules! all_of {
    ($conn:expr, $row:ty, $sql:expr, $many:expr, |$one:ident| [$($bind:expr),+ $(,)?] $(,)?) => {
        $crate::store::conn::on_engine!($conn, $sql, |raw, sql| {
            let mut query = sqlx::query_as::<_, $row>(sql);
            for $one in $many {
                query = query$(.bind($bind))+;
            }
            query.fetch_all(raw)
        })
    };
}
pub(crate) use all_of;

/// Returns the only value of the only row.
macro_rules! scalar {
    ($conn:expr, $value:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::conn::on_engine!($conn, $sql, |raw, sql| {
            sqlx::query_scalar::<_, $value>(sql)$(.bind($bind))*.fetch_one(raw)
        })
    };
}
pub(crate) use scalar;
