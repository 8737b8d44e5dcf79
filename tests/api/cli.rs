//! The command line: effect, output and exit code of each command.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Database, Form, PASSWORD, TestServer, grantd, on_both_engines};

on_both_engines!(
    users_can_be_created_shown_and_changed,
    scopes_and_roles_can_be_set_and_listed,
    clients_can_be_created_shown_and_disabled,
    refused_commands_exit_with_1_and_change_nothing,
    commands_work_while_a_server_runs,
    migrate_is_idempotent,
    keys_can_be_listed_rotated_and_retired,
);

/// Runs a command with `--json`, which must succeed. Returns its output.
#[track_caller]
pub(crate) fn json_of(database: &Database, arguments: &[&str], input: &str) -> Value {
    let output = grantd(database.url(), &[arguments, &["--json"]].concat(), input, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Runs a command, which must print nothing. Returns the exit code and standard error.
pub(crate) fn failure(database: &Database, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } = grantd(database.url(), arguments, input, &[]);
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Sets up a database. On SQLite, this creates the key file beside it.
pub(crate) fn set_up(database: &Database) {
    let output = grantd(database.url(), &["migrate"], "", &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    assert!(output.status.success(), "{output:?}");
}

async fn users_can_be_created_shown_and_changed(database: Database) {
    set_up(&database);
    let create =
        ["user", "create", "maria", "--email", "maria@example.com", "--display-name", "María 🌻", "--password-stdin"];
    let mut maria = json_of(&database, &create, &format!("{PASSWORD}\n"));
    let id = maria["id"].as_str().unwrap().to_owned();
    for time in ["created_at", "updated_at"] {
        assert!(maria[time].as_str().unwrap().ends_with('Z'), "{maria}");
        maria.as_object_mut().unwrap().remove(time);
    }
    assert_eq!(
        maria,
        json!({
            "id": id, "username": "maria", "email": "maria@example.com", "display_name": "María 🌻", "roles": ["member"],
            "scopes": ["account"], "disabled": false, "last_login_at": null,
        })
    );
    for name in ["maria", "MARIA", "Maria@Example.com", &id] {
        assert_eq!(json_of(&database, &["user", "show", name], "")["id"], id.as_str());
    }
    assert_eq!(json_of(&database, &["user", "roles", "maria", "admin"], "")["roles"], json!(["admin", "member"]));
    assert_eq!(json_of(&database, &["user", "roles", "maria", "member"], "")["roles"], json!(["member"]));
    assert_eq!(json_of(&database, &["user", "disable", "maria"], "")["disabled"], true);
    assert_eq!(json_of(&database, &["user", "enable", "maria"], "")["disabled"], false);
    let said = |arguments: &[&str]| String::from_utf8(grantd(database.url(), arguments, PASSWORD, &[]).stdout).unwrap();
    assert_eq!(said(&["user", "disable", "maria"]), "Disabled the user maria.\n");
    assert_eq!(said(&["user", "enable", "maria"]), "Enabled the user maria.\n");
    assert_eq!(said(&["user", "unlock", "maria"]), "Unlocked the user maria.\n");
    assert_eq!(said(&["user", "passwd", "admin", "--password-stdin"]), "Changed the password of admin.\n");
    assert_eq!(said(&["user", "list", "--q", "nobody"]), "no users\n");
    // Only one line ending is removed from the password.
    json_of(&database, &["user", "passwd", "maria", "--password-stdin"], " new password \r\n");
    let users = json_of(&database, &["user", "list"], "");
    let names: Vec<_> = users.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "maria"]);
    let text = users.to_string();
    assert!(!text.contains("argon2") && !text.contains("password"), "{text}");

    let table = |of: &str| String::from_utf8(grantd(database.url(), &[of, "list"], "", &[]).stdout).unwrap();
    assert!(["maria@example.com", "admin"].iter().all(|text| table("user").contains(text)), "{}", table("user"));
    for (of, rows) in [("user", 2), ("role", 2), ("scope", 11), ("client", 1)] {
        assert!(table(of).lines().count() > rows, "{}", table(of));
    }

    let audit = table("audit");
    let row = audit.lines().find(|line| line.contains("user.password_changed")).unwrap();
    assert!(row.contains("command line") && row.contains(&format!("maria ({id})")), "{audit}");
    let of_keys = audit.lines().find(|line| line.contains("signing_key.created")).unwrap();
    assert!(!of_keys.contains("command line"), "it may be the scheduled rotation: {audit}");

    let server = server(database).await;
    server.login("maria", " new password ").await;
    server.token(&Form::password("maria", PASSWORD)).send().await.oauth_error(400, "invalid_grant");
}

/// Starts a server in this process on a database that commands have set up.
async fn server(database: Database) -> TestServer {
    if database.is_postgres() {
        return TestServer::start(database).await;
    }
    let key = database.directory().join("master.key").display().to_string();
    TestServer::with(database, &["--master-key-file", &key]).await
}

async fn scopes_and_roles_can_be_set_and_listed(database: Database) {
    set_up(&database);
    let scope = json_of(&database, &["scope", "set", "items:read", "--description", "See items"], "");
    assert_eq!(
        (&scope["name"], &scope["description"], &scope["built_in"]),
        (&json!("items:read"), &json!("See items"), &json!(false))
    );
    // An omitted description is unchanged.
    assert_eq!(json_of(&database, &["scope", "set", "items:read"], "")["description"], "See items");
    let role = json_of(&database, &["role", "set", "reader", "--description", "Reads", "--scope", "items:read"], "");
    assert_eq!((&role["scopes"], &role["description"]), (&json!(["items:read"]), &json!("Reads")));
    let role = json_of(&database, &["role", "set", "reader", "--scope", "account", "--scope", "users:read"], "");
    assert_eq!((&role["scopes"], &role["description"]), (&json!(["account", "users:read"]), &json!("Reads")));

    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let scopes = json_of(&database, &["scope", "list"], "");
    assert_eq!(scopes.as_array().unwrap().len(), 12);
    assert!(names(&scopes).is_sorted());
    assert!(scopes.as_array().unwrap().iter().all(|scope| scope["description"] != ""), "{scopes}");
    let roles = json_of(&database, &["role", "list"], "");
    assert_eq!(names(&roles), ["admin", "member", "reader"]);
    assert!(roles[0]["scopes"].as_array().unwrap().contains(&json!("items:read")), "the role admin has every scope");
}

async fn clients_can_be_created_shown_and_disabled(database: Database) {
    set_up(&database);
    let create = [
        "client",
        "create",
        "back-office",
        "--name",
        "Back office",
        "--type",
        "confidential",
        "--grant",
        "password",
        "--grant",
        "client_credentials",
        "--scope",
        "account",
        "--token-audience",
        "https://a.example",
        "--token-ttl",
        "5m",
        "--forwards-address",
    ];
    let mut client = json_of(&database, &create, "");
    let secret = client.as_object_mut().unwrap().remove("client_secret").unwrap();
    let secret = secret.as_str().unwrap();
    for time in ["created_at", "updated_at"] {
        client.as_object_mut().unwrap().remove(time);
    }
    assert_eq!(
        client,
        json!({
            "client_id": "back-office", "name": "Back office", "type": "confidential",
            "grant_types": ["password", "client_credentials"], "scopes": ["account"], "audiences": ["https://a.example"],
            "access_token_ttl": "5m", "jwks": null, "forwards_address": true, "disabled": false,
        })
    );
    let public = ["client", "create", "app", "--type", "public", "--grant", "password"];
    assert!(json_of(&database, &public, "").get("client_secret").is_none());
    for shown in
        [json_of(&database, &["client", "show", "back-office"], ""), json_of(&database, &["client", "list"], "")]
    {
        assert!(!shown.to_string().contains("secret"), "{shown}");
    }
    for (flag, expected) in [("--forwards-address=false", false), ("--forwards-address", true)] {
        let changed = json_of(&database, &["client", "change", "back-office", flag], "");
        assert_eq!(changed["forwards_address"], expected);
    }
    let (code, said) = failure(&database, &["client", "change", "app", "--forwards-address"], "");
    assert!(code == Some(1) && said.contains("public"), "{said}");
    assert_eq!(json_of(&database, &["client", "disable", "app"], "")["disabled"], true);
    let ids = json_of(&database, &["client", "list"], "");
    let ids: Vec<_> = ids.as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["app", "back-office", "default"]);
    let rotated = json_of(&database, &["client", "secret", "back-office", "--old-valid-for", "1h"], "");
    let new_secret = rotated["client_secret"].as_str().unwrap();
    let said = grantd(database.url(), &["client", "disable", "app"], "", &[]);
    assert!(said.status.success(), "{said:?}");
    let client = ["client", "create", "other", "--type", "confidential", "--grant", "password"];
    let created = grantd(database.url(), &client, "", &[]);
    assert!(String::from_utf8(created.stderr).unwrap().starts_with("warning: the client other has no scopes"));
    for (flags, says) in [(&["--old-valid-for", "1h"][..], "works until 20"), (&[], "no longer works")] {
        let rotated = grantd(database.url(), &[&["client", "secret", "other"], flags].concat(), "", &[]);
        let said = String::from_utf8(rotated.stdout).unwrap();
        assert!(said.contains(&format!("The previous secret {says}")), "{said}");
    }
    let (code, said) = failure(&database, &["client", "secret", "app"], "");
    assert!(code == Some(1) && said.contains("public"), "{said}");

    let server = server(database).await;
    let body = server.token(&Form::admin()).basic("back-office", secret).send().await.json_with(200);
    assert_eq!(body["expires_in"], 300);
    assert_eq!(server.token(&Form::admin()).basic("back-office", new_secret).send().await.status, 200);
    server.token(&Form::admin().and("client_id", "app")).send().await.oauth_error(401, "invalid_client");
}

async fn refused_commands_exit_with_1_and_change_nothing(database: Database) {
    set_up(&database);
    let maria = ["user", "create", "maria", "--email", "maria@example.com", "--password-stdin"];
    json_of(&database, &maria, PASSWORD);
    let before = database.row_counts().await;
    for (arguments, input, says) in [
        (vec!["user", "create", "MARIA", "--password-stdin"], PASSWORD, "username"),
        (vec!["user", "create", "other", "--email", "Maria@Example.com", "--password-stdin"], PASSWORD, "email"),
        (vec!["user", "create", "other", "--password-stdin"], "short", "8 characters"),
        (vec!["user", "create", "other", "--password-stdin"], "", "password"),
        (vec!["user", "create", "other", "--password-stdin"], "with\0nul and more", "password"),
        (vec!["user", "create", "a@b.example", "--password-stdin"], PASSWORD, "username"),
        (vec!["user", "create", "other", "--role", "nobody", "--password-stdin"], PASSWORD, "nobody"),
        (vec!["user", "show", "nobody"], "", "nobody"),
        (vec!["user", "show", "0199b3a0-0000-7000-8000-000000000001"], "", "user"),
        (vec!["user", "passwd", "nobody", "--password-stdin"], PASSWORD, "nobody"),
        (vec!["user", "roles", "maria", "nobody"], "", "nobody"),
        (vec!["user", "disable", "nobody"], "", "nobody"),
        (vec!["user", "list", "--role", "nope"], "", "error: role nope does not exist\n"),
        (vec!["user", "list", "--role", "nope", "--json"], "", "error: role nope does not exist\n"),
        (vec!["role", "set", "reader", "--scope", "items:read"], "", "items:read"),
        (vec!["role", "set", "member", "--scope", "users:read"], "", "account"),
        (vec!["role", "set", "admin", "--scope", "account"], "", "admin"),
        (vec!["scope", "set", "a/b"], "", "slash"),
        (vec!["client", "create", "default", "--type", "public", "--grant", "password"], "", "client_id"),
        (vec!["client", "create", "app", "--type", "public", "--grant", "client_credentials"], "", "public"),
        (vec!["client", "create", "app", "--type", "public", "--grant", "password", "--scope", "x"], "", "x"),
        (
            vec!["client", "create", "app", "--type", "public", "--grant", "password", "--token-audience", "a b"],
            "",
            "audience",
        ),
        (vec!["client", "show", "nobody"], "", "nobody"),
        (vec!["client", "disable", "nobody"], "", "nobody"),
    ] {
        let (code, said) = failure(&database, &arguments, input);
        assert!(code == Some(1) && said.contains(says), "{arguments:?}: {code:?} {said}");
        assert!(said.starts_with("error: ") && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
    }
    assert_eq!(database.row_counts().await, before);
}

async fn commands_work_while_a_server_runs(database: Database) {
    set_up(&database);
    let server = server(database).await;
    json_of(server.database(), &["user", "create", "maria", "--password-stdin"], PASSWORD);
    let token = server.login("maria", PASSWORD).await;
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
    json_of(server.database(), &["user", "disable", "maria"], "");
    server.get("/users/me").bearer(&token).send().await.problem(401, "invalid-token");
}

async fn migrate_is_idempotent(database: Database) {
    for _ in 0..2 {
        set_up(&database);
        assert_eq!(database.number("SELECT count(*) FROM users").await, 1);
    }
}

async fn keys_can_be_listed_rotated_and_retired(database: Database) {
    set_up(&database);
    let states = |list: &Value| -> Vec<(String, String)> {
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|key| (text(key, "algorithm"), text(key, "state"))).collect()
    };
    let pair = |algorithm: &str, state: &str| (algorithm.to_owned(), state.to_owned());
    let list = || json_of(&database, &["keys", "list"], "");
    assert_eq!(states(&list()), [pair("ES256", "active")]);
    let next = json_of(&database, &["keys", "rotate", "--algorithm", "EdDSA"], "");
    assert_eq!((&next["state"], &next["expires_at"]), (&json!("next"), &Value::Null));
    assert!(next["not_before"].as_str() > next["created_at"].as_str(), "{next}");
    assert_eq!(states(&list()), [pair("ES256", "active"), pair("EdDSA", "next")]);
    let active = json_of(&database, &["keys", "rotate", "--immediately"], "");
    assert_eq!(active["state"], "active");
    assert_eq!(states(&list()), [pair("ES256", "retired"), pair("ES256", "active")]);
    json_of(&database, &["keys", "retire", active["kid"].as_str().unwrap(), "--yes"], "");
    assert!(!list().to_string().contains(active["kid"].as_str().unwrap()));
    assert_eq!(states(&list()), [pair("ES256", "retired"), pair("ES256", "active")]);
    let (code, said) = failure(&database, &["keys", "retire", "nothing"], "");
    assert!(code == Some(1) && said.contains("signing key"), "{said}");
    for wrong in [&["keys", "rotate", "--algorithm", "HS256"][..], &["keys", "rewrap"]] {
        assert_eq!(failure(&database, wrong, "").0, Some(2));
    }

    // After a rewrap, commands need the new master key, and the keys are unchanged.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new.key");
    std::fs::write(&file, json_of(&database, &["keygen"], "")["master_key"].as_str().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let (code, said) = failure(&database, &["keys", "rewrap", "--new-master-key-file", file], "");
    assert!(
        code == Some(1) && said.contains("--new-master-key-file"),
        "a file that others can read is refused: {said}"
    );
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let before = list();
    json_of(&database, &["keys", "rewrap", "--new-master-key-file", file], "");
    let (code, said) = failure(&database, &["keys", "list"], "");
    assert!(code == Some(1) && said.contains("GRANTD_MASTER_KEY"), "{said}");
    let source = if database.is_postgres() { "the setting GRANTD_MASTER_KEY" } else { "/master.key" };
    assert!(said.contains(source) && said.contains("the last `grantd keys rewrap`"), "{said}");
    let key = std::fs::read_to_string(file).unwrap();
    let with_it = grantd(database.url(), &["keys", "list", "--json"], "", &[("GRANTD_MASTER_KEY", &key)]);
    assert_eq!(serde_json::from_slice::<Value>(&with_it.stdout).unwrap(), before);
}

#[test]
fn usage_errors_exit_with_2() {
    let database = Database::sqlite();
    set_up(&database);
    for arguments in [
        &["nothing"][..],
        &["user"],
        &["user", "create"],
        &["user", "create", "no name", "--password-stdin"],
        &["user", "create", "maria", "--password", "x"],
        &["user", "change", "admin"],
        &["client", "change", "default"],
        &["user", "create", "maria", "--email", "nobody", "--password-stdin"],
        // No terminal, and no other source of the password.
        &["user", "create", "maria"],
        &["user", "roles", "maria"],
        &["role", "set", "reader"],
        &["role", "set", "Reader", "--scope", "account"],
        &["scope", "set", "a b"],
        &["client", "create", "app"],
        &["client", "create", "App", "--type", "public", "--grant", "password"],
        &["client", "create", "app", "--type", "secret", "--grant", "password"],
        &["client", "create", "app", "--type", "public", "--grant", "implicit"],
        &["client", "create", "app", "--type", "public", "--grant", "password", "--token-ttl", "0s"],
        // These flags are settings of the server.
        &["client", "create", "app", "--type", "public", "--grant", "password", "--audience", "a"],
        &["client", "create", "app", "--type", "public", "--grant", "password", "--access-token-ttl", "5m"],
        &["completions", "cmd"],
        &["--nothing"],
    ] {
        let (code, said) = failure(&database, arguments, "");
        assert!(code == Some(2) && said.starts_with("error: "), "{arguments:?}: {code:?} {said}");
    }
}

#[test]
fn help_and_completions_list_every_command() {
    let commands = [
        "serve",
        "migrate",
        "keygen",
        "config",
        "user",
        "role",
        "scope",
        "client",
        "session",
        "keys",
        "audit",
        "token",
        "tls",
        "health",
        "completions",
    ];
    let run = |arguments: &[&str]| {
        let output = grantd("sqlite:///none/grantd.db", arguments, "", &[]);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = run(&["--help"]);
    assert!(commands.iter().all(|command| help.contains(command)), "{help}");
    assert!(run(&["--version"]).starts_with("grantd 0."));
    assert!(run(&["help", "user"]).contains("passwd"));
    assert!(run(&["serve", "--help"]).contains("GRANTD_LISTEN"));
    let secret =
        [("DATABASE_URL", "postgres://grantd:hunter2@db/grantd"), ("GRANTD_OTLP_ENDPOINT", "http://a:hunter2@b")];
    let output = grantd("", &["serve", "--help"], "", &secret);
    assert!(output.status.success() && !String::from_utf8(output.stdout).unwrap().contains("hunter2"));
    assert!(run(&["help", "settings"]).contains("GRANTD_HASH_QUEUE"));
    assert!(run(&["user", "create", "--help"]).contains("--password-stdin"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    run(&["man", pages.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(commands.iter().all(|command| page(&format!("grantd-{command}.1")).contains(".SH SYNOPSIS")));
    assert!(page("grantd.1").contains("grantd\\-user(1)") && page("grantd-user-create.1").contains("password\\-stdin"));
    let names: Vec<_> = std::fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().contains("help")), "{names:?}");
}

#[test]
fn keygen_prints_a_valid_key() {
    let one = grantd("sqlite:///none/grantd.db", &["keygen"], "", &[]).stdout;
    let two = grantd("sqlite:///none/grantd.db", &["keygen"], "", &[]).stdout;
    let one = String::from_utf8(one).unwrap();
    assert!(grantd::secret::MasterKey::parse(one.trim()).is_some() && one.into_bytes() != two);
    let database = Database::sqlite();
    let key = json_of(&database, &["keygen"], "");
    let key = key["master_key"].as_str().unwrap();
    let output = grantd(database.url(), &["migrate"], "", &[("GRANTD_MASTER_KEY", key)]);
    assert!(output.status.success(), "{output:?}");
}
