//! The database: whether it can be opened, its schema, and the checks that read it.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{
    Check::{self, Database, DatabaseTls},
    Finding, Installation, accounts, audit_log, clients, engine,
    network::is_private,
    signing_keys,
};
use crate::{
    config::{DatabaseConfig, DatabaseUrl, MasterKeySource},
    error::Error,
    secret::MasterKey,
    store::{self, Migration, Schema, Store},
};

/// Runs the checks that need the database. Where it cannot be opened, that is the only finding.
pub(super) async fn check(installation: &Installation, is_running: bool, now: DateTime<Utc>) -> Vec<Finding> {
    let Some(config) = &installation.settings.database else { return Vec::new() };
    let mut findings = Vec::new();
    if let DatabaseUrl::Postgres(url) = &config.url {
        findings.extend(url.parse().ok().map(|options| encryption(&options)));
    }
    match open(config, installation).await {
        Ok(store) => {
            findings.push(Finding::ok(Database, &config.url, if store.is_postgres() { "Postgres" } else { "SQLite" }));
            findings.extend(read(&store, config, installation, is_running, now).await);
            store.close().await;
        }
        Err(finding) => findings.push(finding),
    }
    findings
}

async fn open(config: &DatabaseConfig, installation: &Installation) -> Result<Store, Finding> {
    let failed = |problem: String, remedy: &str| Finding::failure(Database, &config.url, problem, remedy);
    if let DatabaseUrl::Sqlite(file) = &config.url {
        store::check_wal(file).map_err(|error| failed(error.to_string(), "Do what the message says"))?;
    }
    match Store::inspect(config, installation.clock.clone()).await {
        Ok(Some(store)) => Ok(store),
        Ok(None) => {
            let remedy = "Run this command in the server's directory, set DATABASE_URL, or create the database by starting \
                          `grantd serve` once";
            Err(failed("there is no grantd database here".to_owned(), remedy))
        }
        Err(error) => {
            let remedy = "Start the database, and check DATABASE_URL, the network and the login; for SQLite, run this command \
                          as the user of the server, and check the file";
            Err(failed(format!("{error}. Without it, the server answers 503"), remedy))
        }
    }
}

async fn read(
    store: &Store,
    config: &DatabaseConfig,
    installation: &Installation,
    is_running: bool,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let schema = match store.schema().await {
        Ok(schema) => schema,
        Err(error) => return vec![not_checked(Check::Schema, &error.into())],
    };
    let mut findings = migrations(&schema);
    findings.extend(engine::check(store, config, &schema, now).await);
    // Statements need the tables of this version.
    if !schema.pending.is_empty() || !schema.damaged.is_empty() {
        return findings;
    }
    let settings = &installation.settings;
    let master_key = settings.master_key.as_ref().and_then(key);
    findings.extend(settle(Check::SigningKeys, signing_keys::check(store, settings, master_key.as_ref(), now).await));
    findings.extend(accounts::check(store, settings, now).await);
    findings.extend(clients::check(store, now).await);
    findings.extend(settle(Check::AuditLog, audit_log::check(store, master_key.as_ref(), is_running, now).await));
    findings
}

/// Reads the master key. A file that cannot be read, or is readable by others, is a finding of `files.rs`.
fn key(source: &MasterKeySource) -> Option<MasterKey> {
    match source {
        MasterKeySource::Given { key, .. } => Some(key.clone()),
        MasterKeySource::Beside(file) => MasterKey::parse(&std::fs::read_to_string(file).ok()?),
    }
}

/// Returns the findings of a check, or one that says that it failed.
pub(super) fn settle<E: Into<Error>>(check: Check, findings: Result<Vec<Finding>, E>) -> Vec<Finding> {
    findings.unwrap_or_else(|error| vec![not_checked(check, &error.into())])
}

fn not_checked(check: Check, error: &Error) -> Finding {
    let message = format!("could not be checked: {error}");
    match error {
        Error::Store(error) if error.is_timeout() => {
            Finding::warning(check, "database", message, "Repeat the command when the database is less busy")
        }
        _ => Finding::failure(check, "database", message, "Restore the database from its backup (docs/backup.md)"),
    }
}

fn migrations(schema: &Schema) -> Vec<Finding> {
    let list = |migrations: &[Migration]| {
        let all: Vec<_> = migrations.iter().map(|one| format!("{} {}", one.version, one.name)).collect();
        super::names(&all)
    };
    let mut findings = Vec::new();
    if !schema.damaged.is_empty() {
        let message =
            "these migrations failed midway, or were made by another build: the schema is not that of this version";
        let remedy = "Restore the backup of before the upgrade, and start the version that made the database";
        findings.push(Finding::failure(Check::Schema, list(&schema.damaged), message, remedy));
    }
    if !schema.unknown.is_empty() {
        let message = "the database is of a newer version, which this one does not start with";
        let remedy = "Use the binary of the newer version, or restore the backup of before the upgrade";
        findings.push(Finding::failure(Check::Schema, list(&schema.unknown), message, remedy));
    }
    if !schema.pending.is_empty() {
        let message = "the next start of this version makes these migrations; until then, further checks are left out";
        let remedy = "Back up, then restart the servers, or run `grantd migrate` (docs/upgrades.md)";
        findings.push(Finding::warning(Check::Schema, list(&schema.pending), message, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Schema, format!("{} migrations", schema.applied), "up to date"));
    }
    findings
}

/// Password hashes and sealed keys cross the network.
fn encryption(options: &PgConnectOptions) -> Finding {
    let host = options.get_host();
    let mode = match options.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    };
    if options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || super::network::is_loopback(host)
    {
        return Finding::ok(DatabaseTls, host, "on this machine");
    }
    let is_optional = matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
    let remedy = "Add ?sslmode=verify-full to DATABASE_URL, and sslrootcert where the authority is your own";
    if is_optional && !is_private(host) {
        let message = format!(
            "sslmode is {mode}: password hashes and the login of the database may be sent unencrypted, or to an impostor"
        );
        return Finding::warning(DatabaseTls, host, message, remedy);
    }
    let ok = Finding::ok(DatabaseTls, host, format!("sslmode is {mode}"));
    if matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) { ok } else { ok.with_advice(remedy) }
}
