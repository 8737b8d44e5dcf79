//! Settings: what the documents say of them is what the code does, and what is wrong is said at once.

use crate::harness::{config, document};

#[test]
fn env_example_names_every_setting_and_its_default() {
    document(".env.example", |_| grantd::config::env_example());
}

#[test]
fn the_table_of_readme_names_every_setting_and_its_default() {
    let (begin, end) = ("<!-- settings:begin -->\n", "<!-- settings:end -->");
    document("README.md", |text| {
        let (before, rest) = text.split_once(begin).expect("the table's beginning");
        let (_, after) = rest.split_once(end).expect("the table's end");
        format!("{before}{begin}{}{end}{after}", grantd::config::readme_table())
    });
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let flags = [
        "--listen",
        "0.0.0.0:80",
        "--hash-memory",
        "much",
        "--access-token-ttl",
        "0s",
        "--signing-algorithm",
        "HS256",
        "--cors-origins",
        "https://a.example/path",
        "--trusted-proxies",
        "10.0.0.0/99",
        "--log-format",
        "xml",
        "--master-key",
        "short",
    ];
    let problems = config("sqlite://x.db", &flags).unwrap_err();
    for (setting, found) in [
        ("GRANTD_LISTEN", "0.0.0.0:80"),
        ("GRANTD_ISSUER", "needed"),
        ("GRANTD_HASH_MEMORY", "\"much\""),
        ("GRANTD_ACCESS_TOKEN_TTL", "\"0s\""),
        ("GRANTD_SIGNING_ALGORITHM", "\"HS256\""),
        ("GRANTD_CORS_ORIGINS", "\"https://a.example/path\""),
        ("GRANTD_TRUSTED_PROXIES", "\"10.0.0.0/99\""),
        ("GRANTD_LOG_FORMAT", "\"xml\""),
        ("GRANTD_MASTER_KEY", "grantd keygen"),
    ] {
        let line = problems.lines().find(|line| line.trim_start().starts_with(&format!("{setting}:")));
        assert!(line.is_some_and(|line| line.contains(found)), "{setting} in {problems}");
    }
}

#[test]
fn no_secret_is_in_a_message() {
    let problems = config("postgres://u:s3cret@h:none/d", &["--master-key", "hunter2-hunter2"]).unwrap_err();
    assert!(!problems.contains("hunter2") && !problems.contains("s3cret"), "{problems}");
}
