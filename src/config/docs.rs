//! Documentation made from the definitions of the settings: `.env.example`, the table of `docs/settings.md`, `grantd config`.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, parser::ValueSource};

use super::{DotEnv, arguments};

/// Settings whose value is never shown.
const SECRET: [&str; 2] = ["GRANTD_MASTER_KEY", "GRANTD_ADMIN_PASSWORD"];

fn variable(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_str()?.to_owned())
}

/// Returns the settings as clap's arguments, each with its variable.
#[must_use]
pub fn settings() -> Vec<Arg> {
    arguments().get_arguments().filter(|arg| arg.get_env().is_some()).cloned().collect()
}

/// What is in force and where each value came from; secrets hidden.
#[must_use]
pub fn in_force(matches: &ArgMatches, dotenv: &DotEnv) -> Vec<(String, String, &'static str)> {
    settings()
        .iter()
        .filter_map(|arg| {
            let name = variable(arg)?;
            let values: Vec<String> = matches
                .get_raw(arg.get_id().as_str())
                .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            let source = match matches.value_source(arg.get_id().as_str()) {
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::EnvVariable) if dotenv.has(&name) => ".env",
                Some(ValueSource::EnvVariable) => "environment",
                Some(_) => "default",
                None => "not set",
            };
            let value = values.join(",");
            let shown = if SECRET.contains(&name.as_str()) && !value.is_empty() {
                "(hidden)".to_owned()
            } else if name == "DATABASE_URL" {
                without_password(&value)
            } else {
                value
            };
            Some((name, shown, source))
        })
        .collect()
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

/// Variables that look like a setting and are none: most likely misspelt. Those that Kubernetes sets for a service
/// named `grantd` are left out.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let known: Vec<String> = settings().iter().filter_map(variable).collect();
    let kubernetes = |name: &str| {
        name == "GRANTD_PORT"
            || name.contains("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.contains("_PORT_")
            || (name.ends_with("_PORT") && std::env::var(name).is_ok_and(|value| value.starts_with("tcp://")))
    };
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("GRANTD_") && !known.contains(name) && !kubernetes(name))
        .collect()
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
