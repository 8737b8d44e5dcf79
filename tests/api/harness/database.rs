//! A database for each test: a SQLite file in a directory of its own, or a database on the Postgres server of the tests.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Decode, PgConnection, Postgres, Sqlite, SqliteConnection, Type};

use super::postgres;

/// An empty database, which is deleted on drop.
pub(crate) struct Database {
    url: String,
    engine: Engine,
}

enum Engine {
    Sqlite(tempfile::TempDir),
    Postgres(&'static postgres::Server, String),
}

impl Database {
    /// Returns a SQLite file that does not exist yet.
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("grantd.db").display());
        Self { url, engine: Engine::Sqlite(directory) }
    }

    /// Creates a database on the Postgres server of the tests. `None`: there is no server.
    pub(crate) async fn postgres() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = postgres::server()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("grantd_test_{}_{number}", std::process::id());
        // An earlier process with the same id may have left its database on a server that outlives it.
        maintain(server, format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        maintain(server, format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await.unwrap();
        Some(Self { url: server.url(&name), engine: Engine::Postgres(server, name) })
    }

    /// Returns the value of `DATABASE_URL`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns whether the engine is Postgres.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres(..))
    }

    /// Returns the directory of the SQLite file.
    pub(crate) fn directory(&self) -> &std::path::Path {
        match &self.engine {
            Engine::Sqlite(directory) => directory.path(),
            Engine::Postgres(..) => panic!("a database of Postgres has no directory"),
        }
    }

    /// Runs a statement directly on the database, and returns the number of affected rows.
    pub(crate) async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut conn = PgConnection::connect(&self.url).await?;
            Ok(sqlx::query(sql).execute(&mut conn).await?.rows_affected())
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await?;
            Ok(sqlx::query(sql).execute(&mut conn).await?.rows_affected())
        }
    }

    /// Returns the number that a query selects.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.value(sql).await
    }

    /// Returns the text that a query selects.
    pub(crate) async fn text(&self, sql: &str) -> String {
        self.value(sql).await
    }

    async fn value<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + Type<Sqlite> + Type<Postgres>,
        T: for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>,
    {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut conn = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            let value = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
            // Otherwise a server that stops meanwhile would not be the last one, which empties the write-ahead log.
            conn.close().await.unwrap();
            value
        }
    }

    /// Returns the number of rows of each table, which a refused request must not change.
    pub(crate) async fn row_counts(&self) -> Vec<(&'static str, i64)> {
        let tables = ["clients", "roles", "scopes", "sessions", "signing_keys", "user_roles", "users"];
        let mut counts = Vec::new();
        for table in tables {
            counts.push((table, self.number(&format!("SELECT count(*) FROM {table}")).await));
        }
        counts
    }
}

async fn maintain(server: &postgres::Server, sql: String) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(&server.maintenance_url()).await?;
    sqlx::query(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await
}

impl Drop for Database {
    fn drop(&mut self) {
        let Engine::Postgres(server, name) = &self.engine else { return };
        let (server, drop) = (*server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // In a thread with a runtime of its own: `drop` must not block the runtime that it may run in.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(maintain(server, drop))
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("a test's database stays behind: {error}");
        }
    }
}
