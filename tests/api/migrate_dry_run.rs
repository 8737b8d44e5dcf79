//! `grantd migrate --dry-run`.

use serde_json::Value;

use crate::{
    cli::set_up,
    harness::{Database, grantd, on_both_engines},
};

on_both_engines!(the_migrations_of_a_new_database_are_listed, pending_and_unknown_migrations_are_told_apart);

fn dry_run(database: &Database, json: bool) -> (Option<i32>, String, String) {
    let arguments: &[&str] = if json { &["migrate", "--dry-run", "--json"] } else { &["migrate", "--dry-run"] };
    let output = grantd(database.url(), arguments, "", &[]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn the_migrations_of_a_new_database_are_listed(database: Database) {
    let (code, said, _) = dry_run(&database, false);
    assert_eq!(code, Some(0), "{said}");
    let words = |number: &str| {
        said.lines()
            .find(|line| line.trim_start().starts_with(number))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    assert_eq!(words("3 "), Some(vec!["3", "users", "yes"]), "{said}");
    assert!(said.contains("would create") && said.ends_with("Nothing was changed.\n"), "{said}");
    let (code, said, _) = dry_run(&database, true);
    let printed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &printed["applied"]), (Some(0), &0.into()));
    assert_eq!(printed["pending"][0], serde_json::json!({"version": 1, "name": "scopes", "compatible": true}));
    // Nothing was created.
    if database.is_postgres() {
        let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
        assert_eq!(database.number(tables).await, 0);
    } else {
        assert_eq!(std::fs::read_dir(database.directory()).unwrap().count(), 0);
    }
}

async fn pending_and_unknown_migrations_are_told_apart(database: Database) {
    set_up(&database);
    let (code, said, _) = dry_run(&database, false);
    assert!(code == Some(0) && said.starts_with("The database is up to date: "), "{said}");
    let migrations = "SELECT count(*) FROM _sqlx_migrations";
    let before = database.number(migrations).await;
    // An older database: the table of the newest migration is not there yet.
    database.execute("DELETE FROM _sqlx_migrations WHERE version = 16").await.unwrap();
    database.execute("DROP TABLE throttle").await.unwrap();
    let (code, said, _) = dry_run(&database, false);
    assert!(code == Some(0) && said.contains("16      throttle"), "{said}");
    assert!(said.contains("would upgrade") && said.contains("with 1 migrations"), "{said}");
    assert_eq!(database.number(migrations).await, before - 1);
    assert!(grantd(database.url(), &["migrate"], "", &[]).status.success());
    assert_eq!(database.number(migrations).await, before);

    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'of a newer grantd', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    database.execute(newer).await.unwrap();
    let (code, said, error) = dry_run(&database, false);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(error.contains("newer version: 9999 of a newer grantd") && error.contains("backup"), "{error}");
    let (code, said, _) = dry_run(&database, true);
    let printed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &printed["unknown"][0]["version"]), (Some(1), &9999.into()));
    assert_eq!(printed["unknown"][0]["compatible"], serde_json::Value::Null);
}
