//! SQL that a test runs past the server: transactions that hold locks, and rows in large numbers.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::Database;

/// An open transaction on a connection of its own. It is rolled back when this is dropped.
pub(crate) enum Transaction {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Transaction {
    /// Begins a transaction. On SQLite it holds the write lock from the start.
    pub(crate) async fn begin(database: &Database) -> Self {
        if database.is_postgres() {
            let mut begun = Self::Postgres(PgConnection::connect(database.url()).await.unwrap());
            begun.run("BEGIN").await;
            begun
        } else {
            let mut begun = Self::Sqlite(SqliteConnection::connect(database.url()).await.unwrap());
            begun.run("BEGIN IMMEDIATE").await;
            begun
        }
    }

    /// Runs one or more statements.
    pub(crate) async fn run(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(conn) => sql.execute(conn).await.map(drop).unwrap(),
            Self::Postgres(conn) => sql.execute(conn).await.map(drop).unwrap(),
        }
    }

    /// Commits, which releases the locks.
    pub(crate) async fn commit(mut self) {
        self.run("COMMIT").await;
    }
}

impl Database {
    /// Returns the number of connections that wait for a lock. Postgres only.
    pub(crate) async fn waiting_for_locks(&self) -> i64 {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.number(waiting).await
    }

    /// Copies a session of a user this many times.
    pub(crate) async fn copy_session(&self, username: &str, copies: u32) {
        let id = if self.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
        let sql = format!(
            "INSERT INTO sessions \
             (id, user_id, client_id, secret, counter, created_at, last_used_at, idle_expires_at, expires_at, \
             access_expires_at) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) \
             SELECT {id}, s.user_id, s.client_id, s.secret, 0, s.created_at, s.created_at, s.idle_expires_at, s.expires_at, \
             s.access_expires_at \
             FROM (SELECT * FROM sessions WHERE user_id = (SELECT id FROM users WHERE username = '{username}') \
             ORDER BY id LIMIT 1) s, n"
        );
        assert_eq!(self.execute(&sql).await.unwrap(), u64::from(copies));
    }
}
