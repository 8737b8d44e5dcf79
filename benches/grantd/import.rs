//! Import of very many users with password hashes, compared to what the database inserts by itself.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use grantd::{
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl, HashConfig, PasswordConfig},
    import::{self, Format, Options, Source},
    passwords::Passwords,
    store::Store,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::Outcome;

const HASH: &str = "$2b$10$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS";

/// Writes a file of user records.
pub(crate) fn write_file(path: &Path, count: usize) -> Outcome<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for nth in 0..count {
        let name = format!("imported{nth:07}");
        writeln!(
            file,
            r#"{{"username": "{name}", "email": "{name}@example.com", "display_name": "User {nth}", "password_hash": "{HASH}"}}"#
        )?;
    }
    Ok(file.flush()?)
}

/// Imports a file as `grantd user import` does.
pub(crate) fn run(database: &str, file: &Path, count: usize) -> Outcome<()> {
    let file_of_sqlite = database.strip_prefix("sqlite://");
    let url = match file_of_sqlite {
        Some(file) => DatabaseUrl::Sqlite(file.into()),
        None => DatabaseUrl::Postgres(database.to_owned()),
    };
    let config = DatabaseConfig { url, connections: 1, timeout: Duration::from_secs(30) };
    let hash = HashConfig { memory_kib: 8, iterations: 1, threads: 1, queue: 1, wait: Duration::from_secs(1) };
    let rules = PasswordConfig { min_length: 8, min_strength: 0, blocklist: None };
    let passwords = Passwords::start(&hash, &rules, "http://127.0.0.1:8080").map_err(|error| error.to_string())?;
    let options = Options { pause: file_of_sqlite.is_some(), ..Options::default() };
    let source = Source::open(file)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let clock = Clock::system();
        let store = Store::open(&config, clock.clone()).await?;
        let done = import::run(&store, &passwords, &clock, (source, Format::Jsonl, options), |_| Ok(())).await;
        store.close().await;
        match done.error {
            Some(error) => Err(error.to_string().into()),
            None if done.summary.imported != count as u64 => Err("not all users were imported".into()),
            None => Ok(()),
        }
    })
}

/// Inserts as many users in two statements, one for each table.
pub(crate) fn bulk(database: &str, count: usize) -> Outcome<()> {
    let is_sqlite = database.starts_with("sqlite");
    let id = if is_sqlite { "unhex(printf('%032x', n))" } else { "lpad(to_hex(n), 32, '0')::uuid" };
    let users = format!(
        "INSERT INTO users (id, username, email, display_name, password_hash, disabled, created_at, updated_at) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
         SELECT {id}, 'bulk' || n, 'bulk' || n || '@example.com', 'User ' || n, '{HASH}', FALSE, a.created_at, a.created_at \
         FROM numbers, (SELECT created_at FROM users LIMIT 1) AS a"
    );
    let roles = "INSERT INTO user_roles (user_id, role) SELECT id, 'member' FROM users WHERE username LIKE 'bulk%'";
    macro_rules! insert {
        ($connection:ty) => {{
            let mut conn = <$connection>::connect(database).await?;
            sqlx::raw_sql(AssertSqlSafe(users)).execute(&mut conn).await?;
            sqlx::raw_sql(roles).execute(&mut conn).await?;
            Ok(())
        }};
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { if is_sqlite { insert!(SqliteConnection) } else { insert!(PgConnection) } })
}
