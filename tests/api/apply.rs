//! Set-up files: `grantd apply` creates, changes and deletes in one transaction, and is idempotent; and `grantd export`.

use std::{fmt::Write as _, process::Output};

use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Database, Form, Grantd, PASSWORD, TestServer, grantd, on_both_engines};

on_both_engines!(
    apply_is_idempotent,
    a_dry_run_reports_changes_without_making_them,
    differences_are_changed,
    prune_deletes_what_the_file_does_not_list,
    the_last_administrator_cannot_be_removed,
    secrets_come_from_variables_or_files,
    an_export_can_be_applied_to_this_and_other_databases,
    apply_is_idempotent_for_many_clients_and_users,
);

pub(crate) const EXAMPLE: &str = include_str!("../../deploy/grantd.example.toml");

/// Runs `grantd apply` with a file on standard input.
pub(crate) fn apply(database: &Database, file: &str, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    grantd(database.url(), &[&["apply", "/dev/stdin", "--json"], flags].concat(), file, variables)
}

/// Applies a file, which must succeed. Returns the changes.
#[track_caller]
fn applied(database: &Database, file: &str, flags: &[&str], variables: &[(&str, &str)]) -> Vec<Value> {
    let output = apply(database, file, flags, variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns a line for each change, such as `create user maria` or `change role editor scopes`.
pub(crate) fn lines(changes: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |change: &Value| {
        let fields = change["fields"].as_array().unwrap().iter().map(text);
        [&change["action"], &change["kind"], &change["name"]].map(text).into_iter().chain(fields).collect::<Vec<_>>()
    };
    changes.iter().map(|change| line(change).join(" ")).collect()
}

/// Applies a file, which must be refused. Returns the error message.
#[track_caller]
pub(crate) fn refused(database: &Database, file: &str, flags: &[&str], variables: &[(&str, &str)]) -> String {
    let output = apply(database, file, flags, variables);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn set_up(database: &Database) {
    let output = grantd(database.url(), &["migrate"], "", &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    assert!(output.status.success(), "{output:?}");
}

/// Generates a client secret.
pub(crate) fn new_secret() -> String {
    let output = grantd("sqlite://unused", &["keygen", "--client-secret"], "", &[]);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns numbers of the database, at least one of which changes with any write.
pub(crate) async fn traces(database: &Database) -> Vec<(String, i64)> {
    let mut traces: Vec<_> =
        database.row_counts().await.into_iter().map(|(table, count)| (table.to_owned(), count)).collect();
    for table in ["audit_events", "revocations", "client_assertions", "server_keys"] {
        traces.push((table.to_owned(), database.number(&format!("SELECT count(*) FROM {table}")).await));
    }
    for column in ["revocations", "signing_keys", "clients", "roles"] {
        let of_row = format!("changes.{column}");
        traces.push((of_row, database.number(&format!("SELECT CAST({column} AS BIGINT) FROM changes")).await));
    }
    let changed = "SELECT count(*) FROM users WHERE updated_at <> created_at";
    traces.push(("users that were changed".to_owned(), database.number(changed).await));
    traces
}

/// Starts a server in this process on a database that commands have set up.
async fn server(database: Database) -> TestServer {
    if database.is_postgres() {
        return TestServer::start(database).await;
    }
    let key = database.directory().join("master.key").display().to_string();
    TestServer::with(database, &["--master-key-file", &key]).await
}

async fn apply_is_idempotent(database: Database) {
    set_up(&database);
    let secret = new_secret();
    let variables = [("NIGHTLY_SECRET", secret.as_str()), ("MARIAS_PASSWORD", PASSWORD)];
    let created = applied(&database, EXAMPLE, &[], &variables);
    let all = [
        "create scope items:read",
        "create scope items:write",
        "create role editor",
        "create client shop",
        "create client nightly",
        "create user maria",
    ];
    assert_eq!(lines(&created), all);
    // Given secrets are not printed.
    assert!(created.iter().all(|change| change.get("client_secret").is_none()), "{created:?}");
    let before = traces(&database).await;
    // An existing user needs no password.
    assert_eq!(applied(&database, EXAMPLE, &[], &variables[..1]), [] as [Value; 0]);
    let output = grantd(database.url(), &["apply", "/dev/stdin", "--prune"], EXAMPLE, &variables);
    assert!(!output.status.success(), "the administrator is not in the file");
    let output = grantd(database.url(), &["apply", "/dev/stdin"], EXAMPLE, &variables);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "nothing to do\n");
    assert_eq!(traces(&database).await, before);

    let server = server(database).await;
    let login = Form::password("maria", PASSWORD).and("client_id", "shop");
    let answer = server.token(&login).send().await.json_with(200);
    assert_eq!((&answer["scope"], &answer["expires_in"]), (&json!("account items:read items:write"), &json!(600)));
    let credentials = Form::of(&[("grant_type", "client_credentials")]);
    assert_eq!(server.token(&credentials).basic("nightly", &secret).send().await.status, 200);
    let role = server.get("/admin/roles/editor").bearer(&server.admin().await).send().await.json_with(200);
    assert_eq!(role["description"], "Works on items");
}

async fn a_dry_run_reports_changes_without_making_them(database: Database) {
    set_up(&database);
    let before = traces(&database).await;
    let file = "[[scopes]]\nname = 'a'\n[[clients]]\nclient_id = 'shop'\nname = 'S'\ntype = 'confidential'\n\
                grant_types = ['client_credentials']\nscopes = ['a']\n[[users]]\nusername = 'maria'\npassword_env = 'P'\n";
    let variables = [("P", PASSWORD)];
    let would = applied(&database, file, &["--dry-run"], &variables);
    assert_eq!(lines(&would), ["create scope a", "create client shop", "create user maria"]);
    assert!(would.iter().all(|change| change.get("client_secret").is_none()), "{would:?}");
    // It also reports errors that depend on the database.
    let why = refused(&database, &file.replace("['a']", "['b']"), &["--dry-run"], &variables);
    assert!(why.contains("clients[0].scopes: scope b does not exist"), "{why}");
    let why = refused(&database, "users = []", &["--dry-run", "--prune"], &variables);
    assert!(why.contains("users:write"), "{why}");
    assert_eq!(traces(&database).await, before);
    let created = applied(&database, file, &[], &variables);
    assert_eq!(lines(&created), lines(&would));
    let secret = created[1]["client_secret"].as_str().unwrap().to_owned();
    assert!(applied(&database, file, &["--dry-run"], &[]).is_empty());
    let server = server(database).await;
    let credentials = Form::of(&[("grant_type", "client_credentials")]);
    assert_eq!(server.token(&credentials).basic("shop", &secret).send().await.status, 200);
}

async fn differences_are_changed(database: Database) {
    set_up(&database);
    let secret = new_secret();
    let variables = [("NIGHTLY_SECRET", secret.as_str()), ("MARIAS_PASSWORD", PASSWORD)];
    applied(&database, EXAMPLE, &[], &variables);
    let other = EXAMPLE
        .replace("See items", "See all items")
        .replace("scopes = [\"items:read\", \"items:write\"]", "scopes = [\"items:read\"]")
        .replace("access_token_ttl = \"10m\"\n", "disabled = true\n")
        .replace("username = \"maria\"", "username = \"Maria\"")
        .replace("email = \"maria@example.com\"\n", "")
        .replace("roles = [\"editor\"]", "roles = [\"member\"]")
        + "[[roles]]\nname = 'member'\nscopes = ['account', 'items:read']\n";
    let changed = lines(&applied(&database, &other, &[], &[variables[0], ("MARIAS_PASSWORD", "another password")]));
    let all = [
        "change scope items:read description",
        "change role editor scopes",
        "change role member scopes",
        "change client shop access_token_ttl disabled",
        "change user Maria username email roles",
    ];
    assert_eq!(changed, all);
    assert!(applied(&database, &other, &[], &variables).is_empty());
    // Without `disabled` in the file, the client stays disabled.
    assert!(applied(&database, &other.replace("disabled = true\n", ""), &[], &variables).is_empty());
    let on = other.replace("disabled = true\n", "disabled = false\n");
    assert_eq!(lines(&applied(&database, &on, &[], &variables)), ["change client shop disabled"]);

    let server = server(database).await;
    // The password is unchanged.
    server.login("maria", PASSWORD).await;
    let member = server.get("/admin/roles/member").bearer(&server.admin().await).send().await.json_with(200);
    assert_eq!(member["description"], "Every user");
}

async fn prune_deletes_what_the_file_does_not_list(database: Database) {
    set_up(&database);
    let variables = [("NIGHTLY_SECRET", new_secret()), ("MARIAS_PASSWORD", PASSWORD.to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    applied(&database, EXAMPLE, &[], &variables);
    // Kinds without a section are not pruned. A new user can have the email of a deleted one.
    let users = "[[users]]\nusername = 'admin'\nroles = ['admin']\n[[users]]\nusername = 'mary'\n\
                 email = 'maria@example.com'\npassword_env = 'MARIAS_PASSWORD'\n";
    assert_eq!(lines(&applied(&database, users, &["--prune"], &variables)), ["delete user maria", "create user mary"]);
    assert!(applied(&database, users, &["--prune"], &[]).is_empty());
    let rest = format!("clients = []\nroles = []\n{users}[[scopes]]\nname = 'items:read'\n");
    let gone = ["delete client nightly", "delete client shop", "delete role editor", "delete scope items:write"]
        .map(str::to_owned);
    assert_eq!(lines(&applied(&database, &rest, &["--prune"], &[])), gone);
    let before = traces(&database).await;
    assert!(applied(&database, &rest, &["--prune"], &[]).is_empty());
    let count = |table: &str| before.iter().find(|(name, _)| name == table).unwrap().1;
    assert_eq!([count("scopes"), count("roles"), count("clients"), count("users")], [12, 2, 1, 2]);
    // Scopes and roles that would be deleted cannot be granted.
    applied(&database, "[[scopes]]\nname = 'b'\n[[roles]]\nname = 'r'\nscopes = ['b']\n", &[], &[]);
    let named = "[[scopes]]\nname = 'c'\n[[roles]]\nname = 'x'\nscopes = ['b', 'c']\n[[users]]\nusername = 'admin'\n\
                 roles = ['admin', 'r']\n";
    let why = refused(&database, named, &["--prune"], &[]);
    assert!(why.contains("roles[0].scopes: the file has no scope b"), "{why}");
    assert!(why.contains("users[0].roles: the file has no role r"), "{why}");
}

async fn the_last_administrator_cannot_be_removed(database: Database) {
    set_up(&database);
    let before = traces(&database).await;
    for (file, flags) in [
        ("[[users]]\nusername = 'maria'\npassword_env = 'P'\n", &["--prune"][..]),
        ("[[users]]\nusername = 'admin'\nroles = []\n", &[]),
        ("[[users]]\nusername = 'admin'\nroles = ['admin']\ndisabled = true\n", &[]),
    ] {
        let why = refused(&database, file, flags, &[("P", PASSWORD)]);
        assert!(why.contains("the last enabled user with the scope users:write"), "{why}");
    }
    assert_eq!(traces(&database).await, before);
    // The last administrator can be replaced by another one.
    let other = "[[users]]\nusername = 'maria'\nroles = ['admin']\npassword_env = 'P'\n";
    let changed = lines(&applied(&database, other, &["--prune"], &[("P", PASSWORD)]));
    assert_eq!(changed, ["delete user admin", "create user maria"]);
}

async fn secrets_come_from_variables_or_files(database: Database) {
    set_up(&database);
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (new_secret(), new_secret());
    std::fs::write(directory.path().join("secret"), format!("{first}\n")).unwrap();
    std::fs::write(directory.path().join("password"), format!("{PASSWORD}\r\n")).unwrap();
    // Paths are relative to the directory of the file.
    let text = "[[clients]]\nclient_id = 'shop'\nname = 'S'\ntype = 'confidential'\ngrant_types = ['client_credentials']\n\
                scopes = ['account']\nsecret_file = 'secret'\n[[users]]\nusername = 'maria'\npassword_file = 'password'\n";
    let file = directory.path().join("grantd.toml");
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let output = grantd(database.url(), &["apply", &path, "--json"], "", &[]);
    assert!(output.status.success(), "{output:?}");
    // Only a different secret is a change.
    let of_variable = text.replace("secret_file = 'secret'", "secret_env = 'S'");
    assert!(applied(&database, &of_variable, &[], &[("S", &first)]).is_empty());
    let without = text.replace("secret_file = 'secret'\n", "");
    assert!(applied(&database, &without, &[], &[]).is_empty());
    let changed = applied(&database, &of_variable, &[], &[("S", &second)]);
    assert_eq!(lines(&changed), ["change client shop secret"]);
    assert!(applied(&database, &of_variable, &[], &[("S", &second)]).is_empty());
    for (wrong, problem) in [
        ("", "clients[0].secret_env: the variable S is not set"),
        ("a secret of my own", "clients[0].secret_env: is not a grantd client secret"),
    ] {
        let why = refused(&database, &of_variable, &[], &[("S", wrong)]);
        assert!(why.contains(problem) && (wrong.is_empty() || !why.contains(wrong)), "{why}");
    }
    let why = refused(&database, &of_variable.replace("confidential", "public"), &[], &[("S", &second)]);
    assert!(why.contains("clients[0].secret_env: a public client has no secret"), "{why}");

    // A process with the system clock, as the commands.
    let server = Grantd::start(database.url(), &[]);
    let token = |form: &Form| server.request("POST", "/token").form(form);
    assert_eq!(token(&Form::password("maria", PASSWORD)).send().await.status, 200);
    let credentials = Form::of(&[("grant_type", "client_credentials")]);
    assert_eq!(token(&credentials).basic("shop", &second).send().await.status, 200);
    assert_eq!(token(&credentials).basic("shop", &first).send().await.status, 401);
}

async fn an_export_can_be_applied_to_this_and_other_databases(database: Database) {
    set_up(&database);
    let key = r#"[{kty = "OKP", crv = "Ed25519", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]"#;
    let more = format!(
        "[[clients]]\nclient_id = 'signs'\nname = 'Signs \"\"\"\\ 🌻'\ntype = 'confidential'\n\
         grant_types = ['client_credentials']\nscopes = []\njwks = {{keys = {key}}}\ndisabled = true\nforwards_address = true\n"
    );
    let (file, secret) = (format!("{EXAMPLE}{more}"), new_secret());
    let variables = [("NIGHTLY_SECRET", secret.as_str()), ("MARIAS_PASSWORD", PASSWORD)];
    applied(&database, &file, &[], &variables);
    let export = |database: &Database| {
        let output = grantd(database.url(), &["export"], "", &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let exported = export(&database);
    assert!(exported.starts_with('#') && !exported.contains(&secret) && !exported.contains("argon2"), "{exported}");
    let before = traces(&database).await;
    for flags in [&[][..], &["--prune"]] {
        assert!(applied(&database, &exported, flags, &[]).is_empty());
    }
    assert_eq!(traces(&database).await, before);

    let default = exported.replace("forwards_address = true\n", "");
    assert_eq!(lines(&applied(&database, &default, &[], &[])), ["change client signs forwards_address"]);
    let public = exported.replace("type = \"public\"\n", "type = \"public\"\nforwards_address = true\n");
    let why = refused(&database, &public, &[], &[]);
    assert!(why.contains("forwards_address: a public client cannot"), "{why}");

    let other = Database::sqlite();
    set_up(&other);
    let why = refused(&other, &exported, &[], &[]);
    assert!(why.contains("users[1].password_env: is required for a new user"), "{why}");
    let with_password = exported.replace("username = \"maria\"", "username = \"maria\"\npassword_env = \"P\"");
    let created = applied(&other, &with_password, &["--prune"], &[("P", PASSWORD)]);
    let secrets = created.iter().filter(|change| change.get("client_secret").is_some());
    assert_eq!(secrets.map(|change| &change["name"]).collect::<Vec<_>>(), ["nightly", "signs"]);
    assert_eq!(export(&other), exported);
}

async fn apply_is_idempotent_for_many_clients_and_users(database: Database) {
    set_up(&database);
    let mut file =
        String::from("[[scopes]]\nname = 'items:read'\n[[roles]]\nname = 'reader'\nscopes = ['items:read']\n");
    for n in 0..500 {
        let client = "type = 'public'\ngrant_types = ['password']\nscopes = ['items:read']";
        let _ = writeln!(file, "[[clients]]\nclient_id = 'client-{n}'\nname = 'Client {n}'\n{client}");
    }
    for n in 0..5000 {
        let user = "roles = ['reader']\npassword_env = 'P'";
        let _ = writeln!(file, "[[users]]\nusername = 'user-{n}'\nemail = 'user-{n}@example.com'\n{user}");
    }
    assert_eq!(applied(&database, &file, &[], &[("P", PASSWORD)]).len(), 5502);
    let before = traces(&database).await;
    let output = grantd(database.url(), &["apply", "/dev/stdin"], &file, &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "nothing to do\n");
    assert_eq!(traces(&database).await, before);
}
