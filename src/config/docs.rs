//! Documentation made from the definitions of the settings: `.env.example`, the table of `docs/settings.md`, `grantd config`.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, parser::ValueSource};

use super::{Config, DatabaseUrl, DotEnv, MasterKeySource, arguments};

/// Settings whose value is never shown.
const SECRET: [&str; 2] = ["GRANTD_MASTER_KEY", "GRANTD_ADMIN_PASSWORD"];

/// Returns the environment variable of a setting.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_str()?.to_owned())
}

/// Returns the settings as clap's arguments, each with its variable.
#[must_use]
pub fn settings() -> Vec<Arg> {
    arguments().get_arguments().filter(|arg| arg.get_env().is_some()).cloned().collect()
}

/// Returns the value of each setting in force and its source; secrets hidden. `config` is `None` if a setting is wrong:
/// values that are computed from others are then unknown.
#[must_use]
pub fn in_force(matches: &ArgMatches, dotenv: &DotEnv, config: Option<&Config>) -> Vec<(String, String, String)> {
    let settings = settings();
    let is_set = |name: &str| {
        let arg = settings.iter().find(|arg| variable(arg).as_deref() == Some(name));
        arg.is_some_and(|arg| !written(matches, arg).is_empty())
    };
    let row = |arg: &Arg| {
        let name = variable(arg)?;
        let value = written(matches, arg);
        let file = format!("{name}_FILE");
        // A secret's file counts where the variable has only its default or nothing.
        if is_set(&file) {
            let shown = match config {
                Some(config) if name == "DATABASE_URL" => shown_url(&config.database.url),
                _ => "(hidden)".to_owned(),
            };
            return Some((name, shown, file));
        }
        let source = match matches.value_source(arg.get_id().as_str()) {
            _ if value.is_empty() => "default",
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) if dotenv.has(&name) => ".env",
            Some(ValueSource::EnvVariable) => "environment",
            _ => "default",
        };
        let shown = if value.is_empty() {
            config.and_then(|config| computed(&name, config)).unwrap_or_default()
        } else if SECRET.contains(&name.as_str()) {
            "(hidden)".to_owned()
        } else if name == "DATABASE_URL" {
            without_password(&value)
        } else {
            value
        };
        Some((name, shown, source.to_owned()))
    };
    settings.iter().filter_map(row).collect()
}

fn written(matches: &ArgMatches, arg: &Arg) -> String {
    let values = matches.get_raw(arg.get_id().as_str());
    let values = values.map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>());
    values.unwrap_or_default().join(",")
}

/// Returns the value in force of a setting that is not set and has no constant as its default.
fn computed(name: &str, config: &Config) -> Option<String> {
    match name {
        "GRANTD_ISSUER" => Some(shown_issuer(config)),
        "GRANTD_AUDIENCE" => Some(config.tokens.audience.clone().unwrap_or_else(|| shown_issuer(config))),
        "GRANTD_HASH_THREADS" => Some(config.hash.threads.to_string()),
        "GRANTD_LOG_FORMAT" => Some(config.log.format_in_force().as_str().to_owned()),
        "GRANTD_MASTER_KEY_FILE" => match &config.master_key {
            MasterKeySource::Beside(path) => Some(path.display().to_string()),
            MasterKeySource::Given { .. } => None,
        },
        _ => None,
    }
}

/// Returns the issuer in force. A port that is chosen when the server listens is shown as `PORT`.
fn shown_issuer(config: &Config) -> String {
    let issuer = config.issuer();
    if let Some(host) = issuer.strip_suffix(":0") { format!("{host}:PORT") } else { issuer }
}

fn shown_url(url: &DatabaseUrl) -> String {
    match url {
        DatabaseUrl::Sqlite(path) => format!("sqlite://{}", path.display()),
        DatabaseUrl::Postgres(url) => without_password(url),
    }
}

/// `postgres://user:secret@host/db?password=secret` without its secrets.
fn without_password(url: &str) -> String {
    let postgres = url.starts_with("postgres");
    if postgres && url.parse::<sqlx::postgres::PgConnectOptions>().is_err() {
        return "(hidden, since it cannot be read)".to_owned();
    }
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, query)| (url, query));
    let mut shown = match url.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, login)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                let hidden = if login.contains(':') { ":(hidden)" } else { "" };
                format!("{scheme}://{user}{hidden}@{host}")
            }
            None => "(hidden)".to_owned(),
        },
        None => url.to_owned(),
    };
    for (at, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let separator = if at == 0 { '?' } else { '&' };
        let pair = if pair.starts_with("password=") { "password=(hidden)" } else { pair };
        let _ = write!(shown, "{separator}{pair}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        assert_eq!(
            without_password("postgres://u:s3:@cret@h/d?sslmode=require"),
            "postgres://u:(hidden)@h/d?sslmode=require"
        );
        assert_eq!(without_password("postgres://h/d?password=x&user=u"), "postgres://h/d?password=(hidden)&user=u");
        assert_eq!(without_password("sqlite://data/grantd.db"), "sqlite://data/grantd.db");
    }
}
