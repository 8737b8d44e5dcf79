//! `grantd doctor`: a fresh installation, the formats, and what it leaves alone. `doctor_faults` and `doctor_database` break
//! installations.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{ADMIN_PASSWORD, Database, GRANTD, Grantd, MASTER_KEY, on_both_engines};

on_both_engines!(
    a_fresh_installation_has_no_faults,
    a_stopped_installation_has_no_faults_and_is_left_as_it_is,
    a_database_that_is_away_hides_no_other_check
);

/// An installation in a directory of its own, with the default settings unless the test changes them.
pub(crate) struct Installation {
    pub(crate) database: Database,
    directory: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

/// What the command printed.
pub(crate) struct Audit {
    pub(crate) code: Option<i32>,
    pub(crate) findings: Vec<Value>,
    said: String,
}

impl Installation {
    /// Returns an installation that was set up by a server, which has stopped.
    pub(crate) fn new(database: Database) -> Self {
        let url = database.url().to_owned();
        let mut new = Self { database, directory: tempfile::tempdir().unwrap(), settings: Vec::new() };
        new.set("DATABASE_URL", &url);
        // A free port: nothing is to answer on the default one.
        new.set("GRANTD_LISTEN", "127.0.0.1:0");
        new.set("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD);
        if new.database.is_postgres() {
            new.set("GRANTD_MASTER_KEY", MASTER_KEY);
        }
        let made = new.run(&["migrate"]);
        assert!(made.status.success(), "{made:?}");
        new.settings.retain(|(name, _)| name != "GRANTD_ADMIN_PASSWORD");
        new
    }

    /// Sets a setting, or replaces its value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// The working directory, in which `.env` is looked for.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(GRANTD);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.directory.path());
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command.envs(settings).args(arguments).stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// Starts a server with the settings of the installation.
    pub(crate) fn serve(&self) -> Grantd {
        let settings: Vec<_> = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Grantd::start(self.database.url(), &settings)
    }

    /// Runs `grantd doctor --json`.
    pub(crate) fn audit(&self) -> Audit {
        let output = self.run(&["doctor", "--json"]);
        let said = String::from_utf8(output.stdout).unwrap();
        let printed: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{:?}", output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Audit { code: output.status.code(), findings: printed["findings"].as_array().unwrap().clone(), said }
    }
}

impl Audit {
    /// Returns the findings with this severity, as `check: subject`.
    pub(crate) fn with(&self, severity: &str) -> Vec<String> {
        let found = self.findings.iter().filter(|finding| finding["severity"] == severity);
        found.map(|finding| format!("{}: {}", text(finding, "check"), text(finding, "subject"))).collect()
    }

    /// Asserts that this is the only fault. Returns its message and remedy.
    pub(crate) fn only(&self, severity: &str, check: &str, subject: &str) -> String {
        let faults: Vec<_> = self.findings.iter().filter(|finding| finding["severity"] != "ok").collect();
        let [fault] = faults[..] else { panic!("not one fault: {faults:#?}") };
        assert_eq!((text(fault, "severity"), text(fault, "check")), (severity, check), "{fault:#}");
        assert!(text(fault, "subject").contains(subject), "{fault:#}");
        assert!(!text(fault, "remedy").is_empty(), "{fault:#}");
        assert_eq!(self.code, Some(i32::from(severity == "failure")));
        format!("{} {}", text(fault, "message"), text(fault, "remedy"))
    }

    /// Returns the findings of a check.
    pub(crate) fn of(&self, check: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["check"] == check).collect()
    }

    pub(crate) fn assert_green(&self) {
        assert_eq!((self.with("failure"), self.with("warning")), (Vec::new(), Vec::new()), "{}", self.said);
        assert_eq!(self.code, Some(0));
    }
}

pub(crate) fn text<'f>(finding: &'f Value, member: &str) -> &'f str {
    finding[member].as_str().unwrap()
}

async fn a_fresh_installation_has_no_faults(database: Database) {
    let mut installation = Installation::new(database);
    let server = installation.serve();
    installation.set("GRANTD_LISTEN", server.url().trim_start_matches("http://"));
    let audit = installation.audit();
    audit.assert_green();
    assert_eq!(text(audit.of("server")[0], "message"), "answers");
    assert_eq!(text(audit.of("issuer-url")[0], "message"), "leads to a server with this issuer");
    for check in
        ["settings", "file-modes", "hash-speed", "schema", "indexes", "signing-keys", "administrators", "audit-log"]
    {
        assert_eq!(audit.of(check).len(), 1, "{check}: {}", audit.said);
    }
    for (check, of_sqlite) in
        [("integrity", true), ("disk-space", true), ("connections", false), ("database-tls", false)]
    {
        assert_eq!(audit.of(check).len(), usize::from(of_sqlite != installation.database.is_postgres()), "{check}");
    }
}

async fn a_stopped_installation_has_no_faults_and_is_left_as_it_is(database: Database) {
    let installation = Installation::new(database);
    let state = async || {
        let files = std::fs::read_dir(installation.directory()).unwrap().count();
        let beside = (!installation.database.is_postgres()).then(|| {
            let entries = std::fs::read_dir(installation.database.directory()).unwrap();
            let mut files: Vec<_> = entries
                .map(|entry| (entry.as_ref().unwrap().file_name(), std::fs::read(entry.unwrap().path()).unwrap()))
                .collect();
            files.sort();
            files
        });
        (files, beside)
    };
    let before = state().await;
    let rows = installation.database.row_counts().await;
    installation.audit().assert_green();
    assert_eq!(text(installation.audit().of("server")[0], "subject"), "127.0.0.1:0");
    assert!(before == state().await, "the files were changed");
    assert_eq!(rows, installation.database.row_counts().await);
}

async fn a_database_that_is_away_hides_no_other_check(database: Database) {
    let mut installation = Installation::new(database);
    if installation.database.is_postgres() {
        installation.set("DATABASE_URL", "postgres://u:s3cret-password@127.0.0.1:1/x");
    } else {
        std::fs::write(installation.database.directory().join("grantd.db"), "this is no database ".repeat(100))
            .unwrap();
    }
    let audit = installation.audit();
    let subject = if installation.database.is_postgres() { "127.0.0.1:1/x" } else { "grantd.db" };
    audit.only("failure", "database", subject);
    assert!(
        ["settings", "listener", "file-modes", "hash-parameters", "open-files"]
            .iter()
            .all(|check| !audit.of(check).is_empty())
    );
    assert!(["schema", "signing-keys", "administrators", "audit-log"].iter().all(|check| audit.of(check).is_empty()));
    assert!(!audit.said.contains("s3cret-password"), "{}", audit.said);
}

#[actix_web::test]
async fn no_database_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(GRANTD).env_clear().current_dir(directory.path()).arg("doctor").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("failure  database: ") && said.contains("there is no grantd database here"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[actix_web::test]
async fn findings_are_printed_for_people_with_the_worst_last() {
    let mut installation = Installation::new(Database::sqlite());
    installation.set("GRANTD_RATE_LIMIT", "off");
    installation.set("GRANTD_HASH_ITERATIONS", "1");
    let output = installation.run(&["doctor"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), ""));
    assert!(said.starts_with("ok       settings: all settings: valid; 4 are not the default\n"), "{said}");
    let faults = said.split_once("\n\n").unwrap().1;
    let findings = installation.audit().findings.len();
    assert_eq!(
        faults,
        format!(
            "warning  rate-limit: GRANTD_RATE_LIMIT\n         \
             requests are not limited: one caller can take all of the server.\n         \
             To mend it: Remove the setting, or set a limit such as 500/1s.\n\n\
             failure  hash-parameters: Argon2id, 19 MiB, 1 iteration\n         \
             less than what OWASP recommends: who gets a copy of the database guesses passwords faster.\n         \
             To mend it: Set GRANTD_HASH_MEMORY=19MiB and GRANTD_HASH_ITERATIONS=2 or more; each hash is renewed at the next \
             login.\n\n\
             {findings} findings: 1 failure, 1 warning.\n"
        )
    );
}

#[actix_web::test]
async fn json_has_the_members_of_the_contract_and_no_secret() {
    let mut installation = Installation::new(Database::sqlite());
    let key = std::fs::read_to_string(installation.database.directory().join("master.key")).unwrap();
    installation.set("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD);
    installation.set("GRANTD_UNKNOWN", "a-secret-value");
    std::fs::write(installation.directory().join(".env"), format!("GRANTD_MASTER_KEY={}\n", key.trim())).unwrap();
    std::fs::set_permissions(installation.directory().join(".env"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let audit = installation.audit();
    for finding in &audit.findings {
        let members: Vec<_> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["check", "message", "remedy", "severity", "subject"], "{finding}");
        assert!(["ok", "warning", "failure"].contains(&text(finding, "severity")));
        assert!(!text(finding, "message").is_empty() && !text(finding, "subject").is_empty(), "{finding}");
    }
    let text = String::from_utf8(installation.run(&["doctor"]).stdout).unwrap();
    for secret in [key.trim(), ADMIN_PASSWORD, "a-secret-value"] {
        assert!(!audit.said.contains(secret) && !text.contains(secret), "{secret}");
    }
    assert_eq!(audit.with("failure"), ["file-modes: .env"]);
    assert_eq!(audit.with("warning"), ["settings: GRANTD_UNKNOWN"]);
}

#[actix_web::test]
async fn wrong_usage_has_the_exit_code_2() {
    let installation = Installation::new(Database::sqlite());
    assert_eq!(installation.run(&["doctor", "now"]).status.code(), Some(2));
    assert_eq!(installation.run(&["doctor", "--fix"]).status.code(), Some(2));
}
