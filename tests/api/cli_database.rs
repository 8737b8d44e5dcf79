//! Commands without a database: only `serve`, `migrate` and `apply` create one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cli::{failure, set_up},
    harness::{ADMIN_PASSWORD, Database, GRANTD, PASSWORD, grantd, on_both_engines},
};

on_both_engines!(commands_do_not_initialize_an_empty_database);

/// One command of each kind that reads or changes a database.
const COMMANDS: [&[&str]; 14] = [
    &["user", "list"],
    &["user", "create", "maria", "--password-stdin"],
    &["user", "delete", "maria", "--yes"],
    &["role", "list"],
    &["scope", "list"],
    &["client", "list"],
    &["session", "list", "maria"],
    &["api-key", "list", "maria"],
    &["keys", "list"],
    &["audit", "list"],
    &["audit", "verify"],
    &["token", "explain"],
    &["export"],
    &["apply", "/dev/null", "--dry-run"],
];

/// Runs a command in a directory with only these variables. Returns its exit code and standard error.
fn run_in(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(GRANTD);
    command.env_clear().envs(variables.iter().copied()).current_dir(directory).args(arguments);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn commands_in_the_wrong_directory_name_the_path_and_create_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    for arguments in COMMANDS {
        let (code, said) = run_in(&path, arguments, &[]);
        let file = path.join("data/grantd.db").display().to_string();
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        for part in [file.as_str(), "the default of DATABASE_URL", "server's directory", "grantd serve"] {
            assert!(said.contains(part), "{arguments:?}: {part}: {said}");
        }
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(entries(&path).is_empty(), "{arguments:?}: {:?}", entries(&path));
    }
}

#[test]
fn errors_name_the_source_of_the_database_url() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let list = |flags: &[&str], variables: &[(&str, &str)]| {
        let (code, said) = run_in(&path, &[&["user", "list"], flags].concat(), variables);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let said = list(&[], &[("DATABASE_URL", "sqlite://a.db")]);
    assert!(said.contains(&format!("{}/a.db", path.display())) && said.contains("in the environment"), "{said}");
    assert!(list(&["--database-url", "sqlite://b.db"], &[]).contains("b.db (from --database-url)"));
    std::fs::write(path.join("url"), "sqlite://c.db").unwrap();
    assert!(list(&["--database-url-file", "url"], &[]).contains("c.db (from --database-url-file)"));
    std::fs::write(path.join(".env"), "DATABASE_URL=sqlite://d.db\n").unwrap();
    assert!(list(&[], &[]).contains("d.db (from DATABASE_URL in .env)"));
    assert_eq!(entries(&path).len(), 2);
}

async fn commands_do_not_initialize_an_empty_database(database: Database) {
    let tables = if database.is_postgres() {
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    } else {
        std::fs::write(database.directory().join("grantd.db"), "").unwrap();
        "SELECT count(*) FROM sqlite_schema"
    };
    for arguments in COMMANDS {
        let (code, said) = failure(&database, arguments, PASSWORD);
        assert!(code == Some(1) && said.contains("there is no grantd database at "), "{arguments:?}: {said}");
        assert!(said.contains("DATABASE_URL in the environment"), "{said}");
        assert!(!said.contains('@'), "neither user nor password is shown: {said}");
    }
    assert_eq!(database.number(tables).await, 0);
    if !database.is_postgres() {
        let files = entries(database.directory());
        assert!(files.iter().all(|file| file.extension().is_none_or(|name| name != "key")), "{files:?}");
    }
    // A dry run needs a database; `apply` creates it.
    let created = grantd(database.url(), &["apply", "/dev/null"], "", &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    assert!(created.status.success(), "{created:?}");
    assert!(grantd(database.url(), &["apply", "/dev/null", "--dry-run"], "", &[]).status.success());
    set_up(&database);
    assert_eq!(database.number("SELECT count(*) FROM users").await, 1);
}
