//! Looks for a database without creating one.

use std::{path::Path, str::FromStr as _};

use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::StoreError;
use crate::config::{DatabaseConfig, DatabaseUrl};

pub(super) const SCHEMA_OF_SQLITE: &str = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
pub(super) const SCHEMA_OF_POSTGRES: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// Returns whether the database exists and has a schema. Creates nothing.
pub(crate) async fn exists(config: &DatabaseConfig) -> Result<bool, StoreError> {
    let looked = tokio::time::timeout(config.timeout, async {
        match &config.url {
            DatabaseUrl::Sqlite(path) => sqlite(path, config).await,
            DatabaseUrl::Postgres(url) => postgres(url).await,
        }
    });
    let exists = looked.await.unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)));
    exists.map_err(|error| error.at_open(&config.url))
}

async fn sqlite(path: &Path, config: &DatabaseConfig) -> Result<bool, StoreError> {
    if !path.try_exists()? {
        return Ok(false);
    }
    // Not read-only: the last connection that closes must be able to remove the write-ahead log.
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(config.timeout);
    let mut conn = options.disable_statement_logging().connect().await?;
    let found = sqlx::query_scalar(SCHEMA_OF_SQLITE).fetch_one(&mut conn).await;
    conn.close().await?;
    Ok(found?)
}

async fn postgres(url: &str) -> Result<bool, StoreError> {
    let mut conn =
        PgConnectOptions::from_str(url)?.application_name("grantd").disable_statement_logging().connect().await?;
    let found = sqlx::query_scalar(SCHEMA_OF_POSTGRES).fetch_one(&mut conn).await;
    conn.close().await?;
    Ok(found?)
}
