//! Settings: their generated documentation, validation, and sources.

use std::path::{Path, PathBuf};

use crate::harness::{Database, config, env_example, grantd, settings_table};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a generated file of the repository with the code. `UPDATE=1` writes it.
#[track_caller]
fn is_up_to_date(name: &str, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file(name), text).unwrap();
    }
    let kept = std::fs::read_to_string(file(name)).unwrap_or_default();
    assert!(kept == text, "{name} is out of date: `UPDATE=1 cargo test --test api settings` renews it");
}

#[test]
fn env_example_is_up_to_date() {
    is_up_to_date(".env.example", &env_example());
}

#[test]
fn the_table_in_docs_is_up_to_date() {
    let page = std::fs::read_to_string(file("docs/settings.md")).unwrap();
    let (begin, end) = ("<!-- settings:begin -->\n", "<!-- settings:end -->");
    let (before, rest) = page.split_once(begin).expect("the page marks its table");
    let (_, after) = rest.split_once(end).expect("the page marks the end of its table");
    is_up_to_date("docs/settings.md", &format!("{before}{begin}{}{end}{after}", settings_table()));
}

#[test]
fn env_example_has_the_defaults_as_comments() {
    for line in env_example().lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('#'), "{line}");
    }
    assert!(env_example().contains("# GRANTD_LISTEN=127.0.0.1:8080\n"));
    assert!(env_example().contains("# GRANTD_MASTER_KEY=\n"));
}

#[test]
fn all_invalid_settings_are_reported_together() {
    let wrong = [
        ("--listen", "localhost", "GRANTD_LISTEN"),
        ("--issuer", "id.example", "GRANTD_ISSUER"),
        ("--access-token-ttl", "0s", "GRANTD_ACCESS_TOKEN_TTL"),
        ("--refresh-token-ttl", "soon", "GRANTD_REFRESH_TOKEN_TTL"),
        ("--session-ttl", "0d", "GRANTD_SESSION_TTL"),
        ("--signing-algorithm", "HS256", "GRANTD_SIGNING_ALGORITHM"),
        ("--password-grant", "maybe", "GRANTD_PASSWORD_GRANT"),
        ("--hash-memory", "19MB", "GRANTD_HASH_MEMORY"),
        ("--audit-retention", "1y 0", "GRANTD_AUDIT_RETENTION"),
        ("--hash-iterations", "0", "GRANTD_HASH_ITERATIONS"),
        ("--hash-threads", "many", "GRANTD_HASH_THREADS"),
        ("--hash-queue", "0", "GRANTD_HASH_QUEUE"),
        ("--hash-wait", "1ms", "GRANTD_HASH_WAIT"),
        ("--trusted-proxies", "10.0.0.0/33", "GRANTD_TRUSTED_PROXIES"),
        ("--proxy-header", "x-real-ip", "GRANTD_PROXY_HEADER"),
        ("--shutdown-timeout", "0s", "GRANTD_SHUTDOWN_TIMEOUT"),
        ("--cors-origins", "https://app.example/path", "GRANTD_CORS_ORIGINS"),
        ("--master-key", "short", "GRANTD_MASTER_KEY"),
        ("--admin-username", "no name", "GRANTD_ADMIN_USERNAME"),
        ("--admin-password", &"x".repeat(1025), "GRANTD_ADMIN_PASSWORD"),
        ("--password-min-length", "0", "GRANTD_PASSWORD_MIN_LENGTH"),
        ("--password-min-strength", "5", "GRANTD_PASSWORD_MIN_STRENGTH"),
        ("--metrics-address", "9464", "GRANTD_METRICS_ADDRESS"),
        ("--otlp-endpoint", "collector:4318", "GRANTD_OTLP_ENDPOINT"),
        ("--log", "grantd=loud", "GRANTD_LOG"),
        ("--log-format", "xml", "GRANTD_LOG_FORMAT"),
        ("--database-connections", "0", "GRANTD_DATABASE_CONNECTIONS"),
        ("--database-timeout", "never", "GRANTD_DATABASE_TIMEOUT"),
    ];
    let flags: Vec<&str> = wrong.iter().flat_map(|(flag, value, _)| [*flag, *value]).collect();
    let message = config("sqlite:///tmp/x.db", &flags).unwrap_err();
    for (_, value, setting) in wrong {
        let line = message.lines().find(|line| line.trim_start().starts_with(&format!("{setting}:")));
        let line = line.unwrap_or_else(|| panic!("{setting} is not named in:\n{message}"));
        let secret = ["GRANTD_MASTER_KEY", "GRANTD_ADMIN_PASSWORD"].contains(&setting);
        assert_eq!(line.contains(&format!("{value:?}")), !secret, "shows the value, unless it is secret: {line}");
    }
    assert!(message.contains("allowed is x-forwarded-for or forwarded"), "{message}");
    for (url, says) in [
        ("data/x.db", "did you mean sqlite://data/x.db?"),
        ("sqlite://~/x.db", "~ is not expanded"),
        ("sqlite:///tmp", "/tmp is a directory: name a file in it, such as sqlite:///tmp/grantd.db"),
    ] {
        assert!(config(url, &[]).unwrap_err().contains(says), "{url}");
    }
    for url in ["mysql://x", "sqlite::memory:", "", "postgres//x"] {
        assert!(config(url, &[]).unwrap_err().contains("DATABASE_URL"), "{url}");
    }
}

#[test]
fn a_port_alone_is_one_error_with_the_address_to_write() {
    let message = config("sqlite:///tmp/x.db", &["--listen", "8080"]).unwrap_err();
    let problems: Vec<_> = message.lines().skip(1).collect();
    assert_eq!(problems.len(), 1, "{message}");
    assert!(problems[0].starts_with("  GRANTD_LISTEN: found \"8080\"; write :8080 "), "{message}");
    let message = config("sqlite:///tmp/x.db", &["--listen", ""]).unwrap_err();
    assert!(message.contains("at least one address is needed"), "{message}");
}

#[test]
fn invalid_settings_prevent_the_start() {
    let database = Database::sqlite();
    let wrong = [("GRANTD_ACCESS_TOKEN_TTL", "never"), ("GRANTD_HASH_QUEUE", "0")];
    for command in ["serve", "migrate", "config"] {
        let output = grantd(database.url(), &[command], "", &wrong);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("GRANTD_ACCESS_TOKEN_TTL") && said.contains("GRANTD_HASH_QUEUE"), "{command}: {said}");
    }
    assert!(!database.directory().join("grantd.db").exists(), "nothing was created");
}

/// Returns value and source of a setting in the output of `grantd config --json`.
fn in_force(output: &std::process::Output, setting: &str) -> (String, String) {
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found = all.iter().find(|one| one["setting"] == setting).unwrap_or_else(|| panic!("{setting} is missing"));
    (found["value"].as_str().unwrap().to_owned(), found["source"].as_str().unwrap().to_owned())
}

#[test]
fn config_shows_values_and_sources() {
    let database = Database::sqlite();
    let secret_file = database.directory().join("password");
    std::fs::write(&secret_file, "from a file, with spaces\n").unwrap();
    let variables = [
        ("GRANTD_ACCESS_TOKEN_TTL", "5m"),
        ("GRANTD_MASTER_KEY", crate::harness::MASTER_KEY),
        ("GRANTD_ADMIN_PASSWORD_FILE", secret_file.to_str().unwrap()),
        ("GRANTD_ACCES_TOKEN_TTL", "1m"),
        ("GRANTD_SERVICE_HOST", "10.0.0.1"),
        ("GRANTD_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ];
    let output = grantd(database.url(), &["config", "--json", "--hash-queue", "7"], "", &variables);
    assert!(output.status.success());
    let of = |setting: &str| in_force(&output, setting);
    assert_eq!(of("GRANTD_ACCESS_TOKEN_TTL"), ("5m".to_owned(), "environment".to_owned()));
    assert_eq!(of("GRANTD_HASH_QUEUE"), ("7".to_owned(), "flag".to_owned()));
    assert_eq!(of("GRANTD_SESSION_TTL"), ("90d".to_owned(), "default".to_owned()));
    // Computed values are shown. The source of a value from a file is the variable with its path.
    assert_eq!(of("GRANTD_ISSUER"), ("http://127.0.0.1:PORT".to_owned(), "default".to_owned()));
    assert_eq!(of("GRANTD_AUDIENCE"), of("GRANTD_ISSUER"));
    assert_eq!(of("GRANTD_HASH_THREADS"), ("1".to_owned(), "environment".to_owned()));
    assert_eq!(of("GRANTD_LOG_FORMAT"), ("json".to_owned(), "default".to_owned()));
    assert_eq!(of("GRANTD_ADMIN_PASSWORD"), ("(hidden)".to_owned(), "GRANTD_ADMIN_PASSWORD_FILE".to_owned()));
    assert_eq!(of("GRANTD_CORS_ORIGINS"), (String::new(), "default".to_owned()));
    assert_eq!(of("GRANTD_MASTER_KEY").1, "environment");
    let (said, warned) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!said.contains(crate::harness::MASTER_KEY) && !said.contains("from a file"), "{said}");
    // A misspelt variable causes a warning; the variables that Kubernetes sets do not.
    assert!(warned.contains("GRANTD_ACCES_TOKEN_TTL: did you mean GRANTD_ACCESS_TOKEN_TTL?"), "{warned}");
    assert!(!warned.contains("SERVICE_HOST") && !warned.contains("8080_TCP"), "{warned}");
}

#[test]
fn empty_variables_are_not_set() {
    let variables = ["GRANTD_REGISTRATION", "DATABASE_URL", "GRANTD_ISSUER", "GRANTD_HASH_QUEUE", "GRANTD_TLS_CERT"];
    let output = grantd("", &["config", "--json"], "", &variables.map(|name| (name, "")));
    assert!(output.status.success(), "{output:?}");
    for (name, value) in [("GRANTD_REGISTRATION", "false"), ("DATABASE_URL", "sqlite://data/grantd.db")] {
        assert_eq!(in_force(&output, name), (value.to_owned(), "default".to_owned()));
    }
}

#[test]
fn env_files_and_secret_files_are_read() {
    let database = Database::sqlite();
    let directory = database.directory();
    std::fs::write(directory.join(".env"), "GRANTD_ACCESS_TOKEN_TTL=7m\nGRANTD_SESSION_TTL=1d\n").unwrap();
    let run = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_grantd"));
        command.env_clear().current_dir(directory).args(["config", "--json"]).envs(variables.iter().copied());
        command.output().unwrap()
    };
    let output = run(&[("GRANTD_SESSION_TTL", "2d")]);
    assert_eq!(in_force(&output, "GRANTD_ACCESS_TOKEN_TTL"), ("7m".to_owned(), ".env".to_owned()));
    assert_eq!(in_force(&output, "GRANTD_SESSION_TTL"), ("2d".to_owned(), "environment".to_owned()));

    std::fs::write(directory.join("url"), format!("{}\n", database.url())).unwrap();
    let url_file = directory.join("url").display().to_string();
    assert!(run(&[("DATABASE_URL_FILE", &url_file)]).status.success());
    let both = [("GRANTD_MASTER_KEY", crate::harness::MASTER_KEY), ("GRANTD_MASTER_KEY_FILE", url_file.as_str())];
    let output = run(&both);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("GRANTD_MASTER_KEY"));
    let output = run(&[("GRANTD_ADMIN_PASSWORD_FILE", "/none")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("GRANTD_ADMIN_PASSWORD_FILE"), "{said}");
    assert!(said.contains("cannot read /none: No such file or directory\n"), "{said}");

    // A malformed line is an error with its number, without its text.
    let wrong_lines = [
        ("GRANTD_ADMIN_PASSWORD='my secret\n", 1),
        ("# settings\n\nGRANTD_SESSION_TTL=1d\r\nmy secret\r\nGRANTD_ISSUER=x\n", 4),
        ("A='one\ntwo'\nGRANTD_ADMIN_PASSWORD=my secret # mine\n", 3),
        ("A=1\nGRANTD_ADMIN_PASSWORD=\"my\nsecret\" my secret\nB=2", 2),
        ("A=1\nGRANTD_ADMIN_PASSWORD='my secret\nB=2\n\n", 2),
    ];
    for (text, line) in wrong_lines {
        std::fs::write(directory.join(".env"), text).unwrap();
        let output = run(&[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(&format!(".env, line {line}:")), "{text:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
