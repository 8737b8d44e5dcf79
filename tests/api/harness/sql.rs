//! SQL that a test runs directly on the database: transactions that hold locks, and large numbers of rows.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::Database;

/// An open transaction on a connection of its own, which is rolled back on drop.
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

    /// Copies the row of a table that the condition `which` selects. `changed`: the columns with other values, as SQL in
    /// which `n.i` counts the copies from 1.
    pub(crate) async fn copy_row(&self, table: &str, which: &str, copies: usize, changed: &[(&str, &str)]) {
        let all = if self.is_postgres() {
            format!(
                "SELECT string_agg(column_name, ' ') FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = '{table}'"
            )
        } else {
            format!("SELECT group_concat(name, ' ') FROM pragma_table_info('{table}')")
        };
        let all = self.text(&all).await;
        let kept = all.split(' ').filter(|name| changed.iter().all(|(other, _)| name != other));
        let kept = kept.map(|name| (name, format!("r.{name}")));
        let changed = changed.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let (names, values): (Vec<_>, Vec<_>) = changed.chain(kept).unzip();
        let sql = format!(
            "INSERT INTO {table} ({}) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) \
             SELECT {} FROM {table} r, n WHERE {which}",
            names.join(", "),
            values.join(", ")
        );
        assert_eq!(self.execute(&sql).await.unwrap(), copies as u64, "{sql}");
    }

    /// Copies a session of a user this many times.
    pub(crate) async fn copy_session(&self, username: &str, copies: usize) {
        let id = if self.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
        let which = format!(
            "r.id = (SELECT id FROM sessions WHERE user_id = (SELECT id FROM users WHERE username = '{username}') \
             ORDER BY id LIMIT 1)"
        );
        self.copy_row("sessions", &which, copies, &[("id", id)]).await;
    }
}
