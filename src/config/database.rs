//! The database.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use secrecy::ExposeSecret;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct DatabaseSettings {
    /// SQLite file, or Postgres for several replicas
    ///
    /// The directory of the SQLite file is created if missing.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite://data/grantd.db"
    )]
    database_url: String,
    /// File that holds `DATABASE_URL`
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE", value_parser = parse::path)]
    database_url_file: Option<PathBuf>,
    /// Maximum number of connections to Postgres
    #[arg(long, env = "GRANTD_DATABASE_CONNECTIONS", value_name = "NUMBER", default_value = "10")]
    database_connections: String,
    /// Timeout for a connection from the pool, and for each statement
    #[arg(long, env = "GRANTD_DATABASE_TIMEOUT", value_name = "DURATION", default_value = "3s")]
    database_timeout: String,
}

/// The database, its connection pool and its timeouts.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Its location.
    pub url: DatabaseUrl,
    /// Maximum number of connections to Postgres.
    pub connections: u32,
    /// Timeout for a connection from the pool, and for each statement.
    pub timeout: Duration,
}

/// The location of the database.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A server. May hold a password.
    Postgres(String),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres([REDACTED])"),
        }
    }
}

/// The absolute path of the file, or host, port and name: never user or password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().fmt(f),
            Self::Postgres(url) => match url.parse::<sqlx::postgres::PgConnectOptions>() {
                Ok(options) => {
                    let name = options.get_database().unwrap_or(options.get_username());
                    write!(f, "{}:{}/{name}", options.get_host(), options.get_port())
                }
                Err(_) => f.write_str("Postgres"),
            },
        }
    }
}

fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let checked = text.parse::<sqlx::postgres::PgConnectOptions>();
        return checked.map(|_| DatabaseUrl::Postgres(text.to_owned())).map_err(|error| error.to_string());
    }
    let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path == ":memory:" {
        let allowed = "allowed is sqlite://PATH (a file) or postgres://USER:PASSWORD@HOST/NAME";
        // A text with : or @ may hold a password, which is not repeated.
        let is_path = !text.is_empty() && !text.contains([':', '@', '?']);
        let tip = if is_path { format!("; did you mean sqlite://{text}?") } else { String::new() };
        return Err(format!("{allowed}{tip}"));
    }
    if path == "~" || path.starts_with("~/") {
        return Err("~ is not expanded: write the path of your home directory".to_owned());
    }
    if path.ends_with('/') || Path::new(path).is_dir() {
        let directory = path.trim_end_matches('/');
        return Err(format!("{path} is a directory: name a file in it, such as sqlite://{directory}/grantd.db"));
    }
    Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
}

impl DatabaseSettings {
    /// Selects a SQLite file in the place of what the user wrote.
    pub(super) fn select_file(&mut self, file: &Path) {
        self.database_url = format!("sqlite://{}", file.display());
        self.database_url_file = None;
    }

    pub(super) fn check(&self, check: &mut Check) -> Option<DatabaseConfig> {
        let file = self.database_url_file.as_ref().filter(|path| !path.as_os_str().is_empty());
        let url = match file {
            Some(path) => check.secret("DATABASE_URL", None, Some(path))?.map(|url| url.expose_secret().to_owned())?,
            None => self.database_url.clone(),
        };
        let url = database_url(&url).map_err(|problem| check.problem("DATABASE_URL", problem)).ok();
        let connections =
            check.value("GRANTD_DATABASE_CONNECTIONS", &self.database_connections, |n| parse::number(n, 1, 1000));
        let timeout = check.value("GRANTD_DATABASE_TIMEOUT", &self.database_timeout, parse::duration);
        Some(DatabaseConfig { url: url?, connections: connections?, timeout: timeout? })
    }
}
