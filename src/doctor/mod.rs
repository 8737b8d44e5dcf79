//! The audit of an installation that `grantd doctor` prints: settings, files, certificate, server, database.
//!
//! Each file has the checks of one subject. A check returns findings, also where all is well, and changes nothing. What is
//! broken hides no other check: settings are read section by section, and a check that needs the database is left out where
//! it is away.

mod accounts;
mod audit_log;
mod certificate;
mod clients;
mod database;
mod engine;
mod files;
mod hashing;
mod host;
mod network;
mod policy;
mod server;
mod settings;
mod signing_keys;
mod sql;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{clock::Clock, config::Audited, error::without_os_codes, validation::named_enum};

named_enum! {
    /// How bad a finding is.
    Severity in "severity" {
        /// All is well.
        Ok = "ok",
        /// Should be mended, or decided on.
        Warning = "warning",
        /// Is broken or insecure.
        Failure = "failure",
    }
}

named_enum! {
    /// A check. `docs/doctor.md` lists them in this order.
    Check in "check" {
        /// Settings that are wrong or unknown.
        Settings = "settings",
        /// Public addresses without TLS.
        Listener = "listener",
        /// Metrics on a public address.
        MetricsAddress = "metrics-address",
        /// The issuer: its scheme and host.
        Issuer = "issuer",
        /// Networks whose proxies are believed.
        TrustedProxies = "trusted-proxies",
        /// Origins that may call from a browser.
        CorsOrigins = "cors-origins",
        /// API keys in the query.
        ApiKeyQuery = "api-key-query",
        /// The limit of requests.
        RateLimit = "rate-limit",
        /// The limits of failed logins.
        LoginThrottle = "login-throttle",
        /// Lifetimes of tokens, sessions and keys.
        Lifetimes = "lifetimes",
        /// Rules for new passwords.
        PasswordRules = "password-rules",
        /// Level and format of the log.
        Log = "log",
        /// Modes of files with secrets.
        FileModes = "file-modes",
        /// Owners of the files.
        FileOwners = "file-owners",
        /// Where the master key is.
        MasterKey = "master-key",
        /// The certificate of the server.
        Certificate = "certificate",
        /// Whether the server answers, over TLS alone where it has a certificate.
        Server = "server",
        /// Whether the issuer's URL leads to the server.
        IssuerUrl = "issuer-url",
        /// Cost of password hashes.
        HashParameters = "hash-parameters",
        /// Time of a password hash on this machine.
        HashSpeed = "hash-speed",
        /// The limit of open files.
        OpenFiles = "open-files",
        /// The age of this version.
        Version = "version",
        /// Whether the database can be opened.
        Database = "database",
        /// Whether the connection to Postgres is encrypted.
        DatabaseTls = "database-tls",
        /// The migrations of the database.
        Schema = "schema",
        /// Integrity of a SQLite file.
        Integrity = "integrity",
        /// Indexes that are missing or invalid, and statistics.
        Indexes = "indexes",
        /// Connections to Postgres.
        Connections = "connections",
        /// Free space, and the size of the write-ahead log.
        DiskSpace = "disk-space",
        /// The clocks of this machine, the database and the servers.
        Clock = "clock",
        /// Age, strength and decryption of the signing keys.
        SigningKeys = "signing-keys",
        /// Users with `users:write`.
        Administrators = "administrators",
        /// The administrator's password of the first start.
        FirstPassword = "first-password",
        /// Password hashes of other systems.
        PasswordHashes = "password-hashes",
        /// Enabled users without a login for a year.
        UnusedAccounts = "unused-accounts",
        /// Public clients with the password grant.
        PublicClients = "public-clients",
        /// Clients that nobody uses.
        UnusedClients = "unused-clients",
        /// The audit log and its seals.
        AuditLog = "audit-log",
    }
}

/// The result of a check of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: a setting, a file, an address, a user.
    pub subject: String,
    /// What was found, and why it matters.
    pub message: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

impl Finding {
    fn ok(check: Check, subject: impl ToString, message: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, subject, message, "")
    }

    fn warning(check: Check, subject: impl ToString, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, subject, message, remedy)
    }

    fn failure(check: Check, subject: impl ToString, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Severity::Failure, subject, message, remedy)
    }

    #[expect(clippy::needless_pass_by_value, reason = "most subjects are made for the finding")]
    fn new(
        check: Check,
        severity: Severity,
        subject: impl ToString,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let message = without_os_codes(&message.into());
        Self { check, severity, subject: subject.to_string(), message, remedy: remedy.into() }
    }

    /// Adds advice to a finding that is no fault.
    fn with_advice(self, advice: impl Into<String>) -> Self {
        Self { remedy: advice.into(), ..self }
    }
}

/// What is audited.
#[derive(Debug)]
pub struct Installation {
    /// The settings.
    pub settings: Audited,
    /// The value of each setting in force and its source, secrets hidden.
    pub in_force: Vec<(String, String, String)>,
    /// The variables that look like a setting and are none, each with the setting that was probably meant.
    pub unknown: Vec<(String, Option<String>)>,
    /// The source of the current time.
    pub clock: Clock,
}

impl Installation {
    /// Returns the public URL. `None`: the settings that it depends on are wrong.
    fn issuer(&self) -> Option<String> {
        let (http, tls) = (self.settings.http.as_ref()?, self.settings.tls.as_ref()?);
        let scheme = if tls.files.is_some() { "https" } else { "http" };
        http.issuer.clone().or_else(|| http.listen.first().map(|address| format!("{scheme}://{address}")))
    }
}

/// Runs all checks.
pub async fn audit(installation: &Installation) -> Vec<Finding> {
    let now = installation.clock.now();
    let mut findings = settings::check(installation);
    findings.extend(network::check(installation));
    findings.extend(policy::check(installation));
    findings.extend(files::check(installation));
    findings.extend(certificate::check(installation, now));
    let probe = server::probe(installation).await;
    findings.extend(probe.findings);
    findings.extend(hashing::check(installation));
    findings.extend(host::check(now));
    findings.extend(database::check(installation, probe.is_running, now).await);
    findings
}

/// Returns a list with at most five names.
fn names(all: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{shown} and {} more", all.len() - SHOWN) } else { shown }
}

/// Returns a time span in its largest unit, such as `12 days`.
fn span(span: TimeDelta) -> String {
    let units = [(span.num_days(), "day"), (span.num_hours(), "hour"), (span.num_minutes(), "minute")];
    let (number, unit) = units.into_iter().find(|(number, _)| *number > 0).unwrap_or((span.num_seconds(), "second"));
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

/// Returns a size in its largest unit, such as `19 MiB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_each_check_in_order() {
        let text = include_str!("../../docs/doctor.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split('`').next());
        let listed: Vec<_> = rows.collect();
        let all: Vec<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(listed, all);
    }

    #[test]
    fn numbers_are_shown_in_their_largest_unit() {
        let seconds = |number| span(TimeDelta::seconds(number));
        assert_eq!(
            [seconds(0), seconds(1), seconds(7200), seconds(86_400 * 3)].join(", "),
            "0 seconds, 1 second, 2 hours, 3 days"
        );
        assert_eq!([size(12), size(20 << 10), size(19 << 20), size(5 << 30)].join(", "), "12 B, 20 KiB, 19 MiB, 5 GiB");
        let users: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned).into();
        assert_eq!(names(&users), "a, b, c, d, e and 2 more");
        assert_eq!(names(&users[..2]), "a, b");
    }
}
