//! Opens an existing database for an audit, and compares its schema with the migrations of this version.

use std::{collections::BTreeSet, path::Path, str::FromStr as _, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{
    ConnectOptions as _,
    migrate::Migrator,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{
    Engine, Store, StoreError, conn,
    connections::Connections,
    existing::{SCHEMA_OF_POSTGRES, SCHEMA_OF_SQLITE},
    file::OpenFile,
    migrate,
};
use crate::{
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl},
};

/// An audit counts rows of whole tables.
const STATEMENT: Duration = Duration::from_secs(30);
const READ_ONLY: &str = "SET default_transaction_read_only = on";
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = 30000";
const APPLIED: &str = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
/// The first line of a migration that servers of the version before do not survive begins with this.
const INCOMPATIBLE: &str = "-- incompatible:";

/// A migration, by its number and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The number.
    pub version: i64,
    /// The name.
    pub name: String,
    /// Whether servers of the version before may run beside it. `None`: this version does not know the migration.
    pub compatible: Option<bool>,
}

/// The schema of a database, compared with the migrations of this version.
#[derive(Clone, Debug, Serialize)]
pub struct Schema {
    /// The number of migrations that were made.
    pub applied: usize,
    /// The migrations that the next start makes.
    pub pending: Vec<Migration>,
    /// The migrations of the database that this version does not know: the database is of a newer version.
    pub unknown: Vec<Migration>,
    /// The migrations that were made with another text than that of this version, or that failed midway.
    pub damaged: Vec<Migration>,
}

#[derive(sqlx::FromRow)]
struct AppliedRow {
    version: i64,
    description: String,
    success: bool,
    checksum: Vec<u8>,
}

impl Schema {
    fn compare(migrator: &Migrator, rows: &[AppliedRow]) -> Self {
        let known = |version: i64| migrator.iter().find(|migration| migration.version == version);
        let of_row = |row: &AppliedRow| Migration {
            version: row.version,
            name: row.description.clone(),
            compatible: known(row.version).map(|known| is_compatible(known.sql.as_str())),
        };
        let is_damaged = |row: &&AppliedRow| {
            !row.success || known(row.version).is_some_and(|known| *known.checksum != *row.checksum)
        };
        let pending = migrator.iter().filter(|migration| rows.iter().all(|row| row.version != migration.version));
        Self {
            applied: rows.len(),
            pending: pending
                .map(|migration| Migration {
                    version: migration.version,
                    name: migration.description.to_string(),
                    compatible: Some(is_compatible(migration.sql.as_str())),
                })
                .collect(),
            unknown: rows.iter().filter(|row| known(row.version).is_none()).map(of_row).collect(),
            damaged: rows.iter().filter(is_damaged).map(of_row).collect(),
        }
    }

    /// Returns the schema of a database that does not exist yet.
    pub(crate) fn of_new(url: &DatabaseUrl) -> Self {
        Self::compare(migrator(matches!(url, DatabaseUrl::Postgres(_))), &[])
    }
}

fn migrator(postgres: bool) -> &'static Migrator {
    if postgres { &migrate::POSTGRES } else { &migrate::SQLITE }
}

fn is_compatible(sql: &str) -> bool {
    !sql.starts_with(INCOMPATIBLE)
}

/// Returns the names of the indexes that a migration creates.
fn indexes(sql: &str) -> impl Iterator<Item = &str> {
    let created = sql
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE UNIQUE INDEX ").or_else(|| line.strip_prefix("CREATE INDEX ")));
    created.filter_map(|rest| rest.split_whitespace().next())
}

impl Store {
    /// Opens a database for reading: nothing is created or migrated, and its connection refuses changes. `None`: it does not
    /// exist, or has no schema.
    //
    // Not after `exists`, whose connection may write: it would write the log of a server that was killed into the database.
    pub(crate) async fn inspect(config: &DatabaseConfig, clock: Clock) -> Result<Option<Self>, StoreError> {
        Self::try_inspect(config, clock).await.map_err(|error| error.at_open(&config.url))
    }

    async fn try_inspect(config: &DatabaseConfig, clock: Clock) -> Result<Option<Self>, StoreError> {
        let engine = match &config.url {
            DatabaseUrl::Sqlite(path) if !path.try_exists()? => return Ok(None),
            DatabaseUrl::Sqlite(path) => sqlite(path, config).await?,
            DatabaseUrl::Postgres(url) => postgres(url, config)?,
        };
        let store = Self::new(engine, STATEMENT, clock);
        let mut conn = store.read().await?;
        if store.is_postgres() {
            conn::execute!(conn, READ_ONLY)?;
            conn::execute!(conn, STATEMENT_TIMEOUT)?;
        }
        let statement = if store.is_postgres() { SCHEMA_OF_POSTGRES } else { SCHEMA_OF_SQLITE };
        let has_schema = conn::scalar!(conn, bool, statement)?;
        drop(conn);
        if !has_schema {
            store.close().await;
        }
        Ok(has_schema.then_some(store))
    }

    /// Returns the time of this machine.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Compares the schema with the migrations of this version.
    pub(crate) async fn schema(&self) -> Result<Schema, StoreError> {
        let mut conn = self.read().await?;
        let rows = conn::all!(conn, AppliedRow, APPLIED)?;
        Ok(Schema::compare(migrator(self.is_postgres()), &rows))
    }

    /// Returns the names of the indexes that the migrations create, without those that are pending.
    pub(crate) fn expected_indexes(&self, schema: &Schema) -> BTreeSet<&'static str> {
        let is_pending = |version| schema.pending.iter().any(|pending| pending.version == version);
        let made = migrator(self.is_postgres()).iter().filter(|migration| !is_pending(migration.version));
        made.flat_map(|migration| indexes(migration.sql.as_str())).collect()
    }
}

async fn sqlite(path: &Path, config: &DatabaseConfig) -> Result<Engine, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(config.timeout)
        .pragma("query_only", "on")
        // With a write-ahead log beside the file, the last connection that closes would write it into the database. Without
        // one, a connection that may write creates one, and deletes it when it closes; one that may not leaves it there.
        .read_only(super::file::has_wal(path))
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(config.timeout).test_before_acquire(false);
    let readers = pool.connect_with(options).await?;
    let file = Arc::new(OpenFile::new(path).await?);
    Ok(Engine::Sqlite { writer: readers.clone(), readers, file })
}

/// One connection: what is set on it holds for all statements.
fn postgres(url: &str, config: &DatabaseConfig) -> Result<Engine, StoreError> {
    let options = PgConnectOptions::from_str(url)?.application_name("grantd").disable_statement_logging();
    Ok(Engine::Postgres(Arc::new(Connections::for_reading(options, config.timeout)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_have_the_same_migrations_and_indexes() {
        let [sqlite, postgres] = [false, true].map(|postgres| {
            let migrations = Schema::compare(migrator(postgres), &[]).pending;
            let indexes: BTreeSet<_> = migrator(postgres).iter().flat_map(|one| indexes(one.sql.as_str())).collect();
            (migrations, indexes)
        });
        assert_eq!(sqlite, postgres);
        assert!(sqlite.0.len() >= 16 && sqlite.1.contains("users_username_key"), "{sqlite:?}");
        assert!(sqlite.0.iter().all(|migration| migration.compatible == Some(true)));
    }

    #[test]
    fn migrations_that_old_servers_do_not_survive_are_marked() {
        assert!(is_compatible("-- Users.\nCREATE TABLE users ();"));
        assert!(!is_compatible("-- incompatible: servers before 0.3 read the column.\nALTER TABLE users DROP email;"));
    }

    #[test]
    fn unknown_failed_and_changed_migrations_are_told_apart() {
        let known = migrate::SQLITE.iter().next().unwrap();
        let row = |version, success, checksum: &[u8]| AppliedRow {
            version,
            description: "scopes".to_owned(),
            success,
            checksum: checksum.to_vec(),
        };
        let compare = |row| Schema::compare(&migrate::SQLITE, &[row]);
        let good = compare(row(1, true, &known.checksum));
        assert_eq!((good.applied, good.unknown.len(), good.damaged.len()), (1, 0, 0));
        assert_eq!(good.pending[0].version, 2);
        assert_eq!(compare(row(9999, true, b"")).unknown[0].version, 9999);
        assert_eq!(compare(row(1, false, &known.checksum)).damaged.len(), 1);
        assert_eq!(compare(row(1, true, b"other")).damaged.len(), 1);
    }
}
