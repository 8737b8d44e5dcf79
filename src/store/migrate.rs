//! Brings the schema up to date, one server at a time.

use std::{fs::File, path::Path};

use sqlx::{ConnectOptions as _, Connection as _, SqlitePool, migrate::Migrator, postgres::PgConnectOptions};

use super::StoreError;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Waits for the lock file beside the database: SQLite itself has no lock that spans several migrations.
/// The lock is gone when the file is dropped, and with the process.
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

pub(super) async fn sqlite(pool: &SqlitePool) -> Result<(), StoreError> {
    Ok(SQLITE.run(pool).await?)
}

/// Under an advisory lock, which sqlx takes. On a connection without the limit for statements: another server may be at it
/// for a while, and a new index takes as long as it takes.
pub(super) async fn postgres(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut conn = options.clone().options([("statement_timeout", "0")]).connect().await?;
    POSTGRES.run(&mut conn).await?;
    Ok(conn.close().await?)
}
