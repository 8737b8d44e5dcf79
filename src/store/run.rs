//! One connection of either engine, and the macros that send a statement over it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Postgres, Sqlite, Transaction, pool::PoolConnection};

use super::StoreError;

/// A connection, in a transaction or not. A transaction that is dropped without a commit is rolled back.
#[derive(Debug)]
pub struct Conn {
    pub(crate) link: Link,
    statements: Arc<AtomicU64>,
    patience: Duration,
}

#[derive(Debug)]
pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTransaction(Transaction<'static, Postgres>),
}

/// What the macros run a statement on.
pub(crate) enum Raw<'c> {
    Sqlite(&'c mut sqlx::SqliteConnection),
    Postgres(&'c mut sqlx::PgConnection),
}

impl Conn {
    pub(super) fn new(link: Link, statements: Arc<AtomicU64>, patience: Duration) -> Self {
        Self { link, statements, patience }
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let patience = self.patience;
        match self.link {
            Link::SqliteTransaction(transaction) => within(patience, transaction.commit()).await,
            Link::PostgresTransaction(transaction) => within(patience, transaction.commit()).await,
            Link::Sqlite(_) | Link::Postgres(_) => Ok(()),
        }
    }

    /// Counts one statement and gives the connection for it, and how long it may take.
    pub(crate) fn raw(&mut self) -> (Raw<'_>, Duration) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let raw = match &mut self.link {
            Link::Sqlite(conn) => Raw::Sqlite(conn),
            Link::SqliteTransaction(conn) => Raw::Sqlite(conn),
            Link::Postgres(conn) => Raw::Postgres(conn),
            Link::PostgresTransaction(conn) => Raw::Postgres(conn),
        };
        (raw, self.patience)
    }
}

/// The engine ends a statement that takes too long by itself; a network that swallows everything ends here.
pub(crate) async fn within<T>(
    patience: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience + Duration::from_secs(1), statement).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// `send!(conn, as-constructor, sql, finisher, binds…)`: the two arms that every statement needs.
macro_rules! send {
    ($conn:expr, [$($query:tt)+], $sql:expr, $finish:ident $(, $bind:expr)*) => {{
        let (raw, patience) = $conn.raw();
        match raw {
            $crate::store::run::Raw::Sqlite(conn) => {
                $crate::store::run::within(patience, $($query)+($sql)$(.bind($bind))*.$finish(conn)).await
            }
            $crate::store::run::Raw::Postgres(conn) => {
                $crate::store::run::within(patience, $($query)+($sql)$(.bind($bind))*.$finish(conn)).await
            }
        }
    }};
}
pub(crate) use send;

/// Runs a statement for its effect; gives the number of rows that it touched.
macro_rules! execute {
    ($conn:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let (raw, patience) = $conn.raw();
        match raw {
            $crate::store::run::Raw::Sqlite(conn) => {
                $crate::store::run::within(patience, sqlx::query($sql)$(.bind($bind))*.execute(conn))
                    .await.map(|done| done.rows_affected())
            }
            $crate::store::run::Raw::Postgres(conn) => {
                $crate::store::run::within(patience, sqlx::query($sql)$(.bind($bind))*.execute(conn))
                    .await.map(|done| done.rows_affected())
            }
        }
    }};
}
pub(crate) use execute;

/// One row of a type, or none.
macro_rules! optional {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::run::send!($conn, [sqlx::query_as::<_, $row>], $sql, fetch_optional $(, $bind)*)
    };
}
pub(crate) use optional;

/// All rows, of a type.
macro_rules! all {
    ($conn:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::run::send!($conn, [sqlx::query_as::<_, $row>], $sql, fetch_all $(, $bind)*)
    };
}
pub(crate) use all;

/// The one value of the one row.
macro_rules! scalar {
    ($conn:expr, $value:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::run::send!($conn, [sqlx::query_scalar::<_, $value>], $sql, fetch_one $(, $bind)*)
    };
}
pub(crate) use scalar;
