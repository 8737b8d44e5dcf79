//! Set-up files that a server applies at its start (`GRANTD_APPLY`).

use crate::{
    apply::{EXAMPLE, new_secret, traces},
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, PASSWORD, grantd, on_both_engines},
};

on_both_engines!(the_file_is_applied_at_start);

async fn the_file_is_applied_at_start(database: Database) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grantd.toml").display().to_string();
    std::fs::write(&path, EXAMPLE).unwrap();
    let secret = new_secret();
    let variables = [
        ("GRANTD_APPLY", path.as_str()),
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("NIGHTLY_SECRET", &secret),
        ("MARIAS_PASSWORD", PASSWORD),
    ];
    // Concurrently, as replicas start. Only one server can use a SQLite file, so the others are commands there.
    let start = || Grantd::start(database.url(), &variables);
    let apply = || {
        let output = grantd(database.url(), &["apply", &path], "", &variables);
        assert!(output.status.success(), "{output:?}");
    };
    let (servers, commands) = if database.is_postgres() { (3, 0) } else { (1, 2) };
    let servers: Vec<Grantd> = std::thread::scope(|threads| {
        let starts: Vec<_> = (0..servers).map(|_| threads.spawn(start)).collect();
        let commands: Vec<_> = (0..commands).map(|_| threads.spawn(apply)).collect();
        for command in commands {
            command.join().unwrap();
        }
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for server in &servers {
        let answer = server.request("POST", "/token").form(&Form::password("maria", PASSWORD)).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    drop(servers);
    let events = "SELECT count(*) FROM audit_events WHERE kind IN ('user.created', 'client.created', 'role.created')";
    // This includes the administrator of the first start.
    assert_eq!(database.number(events).await, 5);
    let before = traces(&database).await;
    drop(Grantd::start(database.url(), &variables[..3]));
    assert_eq!(traces(&database).await, before);

    let refusal = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = grantd(database.url(), &["serve"], "", &variables);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let why = refusal("[[users]]\nusername = 'joe'\n");
    assert!(why.contains(&format!("GRANTD_APPLY: {path}: users[0].password_env: is required")), "{why}");
    // A generated secret would not be shown anywhere.
    let why = refusal(&EXAMPLE.replace("nightly", "daily").replace("secret_env", "# secret_env"));
    assert!(
        why.contains(&format!("GRANTD_APPLY: {path}: clients[1].secret_env: secret_env or secret_file is required when a server applies the file")),
        "{why}"
    );
    let why = refusal("no TOML");
    assert!(why.contains(&format!("GRANTD_APPLY: {path}: line 1: ")), "{why}");
    assert_eq!(traces(&database).await, before);
}

#[actix_web::test]
async fn a_file_that_cannot_be_applied_creates_no_database() {
    let database = Database::sqlite();
    let missing = database.directory().join("missing.toml").display().to_string();
    let example = database.directory().join("grantd.toml");
    std::fs::write(&example, EXAMPLE).unwrap();
    for (file, why) in [(missing.as_str(), "missing.toml"), (example.to_str().unwrap(), "NIGHTLY_SECRET")] {
        let output = grantd(database.url(), &["serve"], "", &[("GRANTD_APPLY", file)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(why), "{said}");
        // If the database existed, the next start would not print the administrator's password.
        assert!(!database.directory().join("master.key").exists(), "{file}");
    }
}

#[actix_web::test]
async fn a_new_database_is_not_created_where_something_is_missing_for_it() {
    let database = Database::sqlite();
    let file = database.directory().join("grantd.toml");
    let path = file.to_str().unwrap();
    // The first start creates `admin` itself, and the role `nobody` does not exist.
    std::fs::write(&file, format!("{EXAMPLE}[[users]]\nusername = 'Admin'\nroles = ['admin', 'nobody']\n")).unwrap();
    for (arguments, variables) in [(&["serve"][..], &[("GRANTD_APPLY", path)][..]), (&["apply", path], &[])] {
        let output = grantd(database.url(), arguments, "", variables);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
        let (first, rest) = said.split_once('\n').unwrap();
        assert!(first.ends_with(&format!("{path}: 3 errors:")), "{said}");
        for problem in [
            "clients[1].secret_env: the variable",
            "users[0].password_env: the variable",
            "users[1].roles: role nobody",
        ] {
            assert!(rest.contains(problem), "{problem}: {said}");
        }
        assert!(!database.directory().join("grantd.db").exists() && !database.directory().join("master.key").exists());
    }
    // A secret that a server generates would not be shown.
    std::fs::write(&file, EXAMPLE.replace("secret_env", "# secret_env")).unwrap();
    let variables = [("GRANTD_APPLY", path), ("MARIAS_PASSWORD", PASSWORD)];
    let said = String::from_utf8(grantd(database.url(), &["serve"], "", &variables).stderr).unwrap();
    assert!(said.contains("clients[1].secret_env: secret_env or secret_file is required"), "{said}");
    assert!(!database.directory().join("grantd.db").exists());
    // `apply` prints it. Then the users exist, and need no variables.
    let output = grantd(database.url(), &["apply", path], "", &variables[1..]);
    assert!(output.status.success(), "{output:?}");
    drop(Grantd::start(database.url(), &[("GRANTD_APPLY", path)]));
}
