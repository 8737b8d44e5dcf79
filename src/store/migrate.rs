//! Schema migrations. Servers that start at the same time migrate one after another.

use std::{fs::File, path::Path, time::Duration};

use sqlx::{Connection as _, SqlitePool, migrate::Migrator, postgres::PgConnectOptions};

use super::{StoreError, connections::connect};

pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
pub(super) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Waits for the lock file beside the database: SQLite has no lock that spans several migrations. Dropping the file
/// releases the lock, as does the end of the process.
pub(super) async fn lock_file(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).append(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    match opened.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(StoreError::from(sqlx::Error::Io(error))),
        Err(panicked) => Err(StoreError::from(sqlx::Error::Io(std::io::Error::other(panicked)))),
    }
}

/// Migrates an SQLite database. The caller holds the lock file.
pub(super) async fn sqlite(pool: &SqlitePool) -> Result<(), StoreError> {
    Ok(SQLITE.run(pool).await?)
}

/// Migrates a Postgres database, under the advisory lock that sqlx takes. The connection has no statement timeout:
/// waiting for another server's migration, or building an index, may take long. `idle`: half of the longest pause in a
/// transaction.
pub(super) async fn postgres(options: &PgConnectOptions, idle: Duration) -> Result<(), StoreError> {
    let mut conn = connect(options, Duration::ZERO, idle).await?;
    POSTGRES.run(&mut conn).await?;
    Ok(conn.close().await?)
}
