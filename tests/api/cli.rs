//! The command line: what an operator types, and what comes back.

use serde_json::Value;

use crate::harness::{Database, grantd, on_both_engines};

on_both_engines!(users_roles_scopes_and_clients_are_managed);

struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

fn run(database: &str, arguments: &[&str], input: &str) -> Said {
    let output = grantd(database, arguments, input, &[("GRANTD_ADMIN_PASSWORD", "correct horse")]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

#[track_caller]
fn json(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{}", said.error);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

async fn users_roles_scopes_and_clients_are_managed(database: Database) {
    let database = database.url().to_owned();
    let run = |arguments: &[&str], input: &str| run(&database, arguments, input);
    let scope = json(&run(&["scope", "set", "items:read", "--description", "See items", "--json"], ""));
    assert_eq!((&scope["name"], &scope["built_in"]), (&"items:read".into(), &false.into()));
    let role = json(&run(&["role", "set", "reader", "--scope", "items:read", "--json"], ""));
    assert_eq!(role["scopes"], serde_json::json!(["items:read"]));
    assert_eq!(run(&["role", "set", "reader", "--scope", "nothing"], "").code, Some(1));

    let create =
        ["user", "create", "maria", "--email", "m@example.com", "--role", "reader", "--password-stdin", "--json"];
    let user = json(&run(&create, "correct horse battery\n"));
    assert_eq!(user["roles"], serde_json::json!(["member", "reader"]));
    let again = run(&["user", "create", "MARIA", "--password-stdin"], "correct horse battery\n");
    assert!(again.code == Some(1) && again.error.contains("username is taken"), "{}", again.error);
    let short = run(&["user", "create", "otto", "--password-stdin"], "short");
    assert!(short.code == Some(1) && short.error.contains("8 characters"), "{}", short.error);

    assert_eq!(json(&run(&["user", "show", "M@EXAMPLE.com", "--json"], ""))["id"], user["id"]);
    assert_eq!(json(&run(&["user", "disable", "maria", "--json"], ""))["disabled"], true);
    assert_eq!(json(&run(&["user", "enable", "maria", "--json"], ""))["disabled"], false);
    let roles = json(&run(&["user", "roles", "maria", "admin", "--json"], ""));
    assert_eq!(roles["roles"], serde_json::json!(["admin", "member"]));
    assert_eq!(run(&["user", "passwd", "maria", "--password-stdin"], "another password").code, Some(0));
    assert_eq!(json(&run(&["user", "list", "--json"], "")).as_array().unwrap().len(), 2);
    let nobody = run(&["user", "show", "nobody"], "");
    assert!(nobody.code == Some(1) && nobody.error.contains("there is no user \"nobody\""), "{}", nobody.error);

    let create =
        ["client", "create", "back-office", "--type", "confidential", "--grant", "password", "--scope", "account"];
    let client = json(&run(&[&create[..], &["--token-ttl", "5m", "--json"]].concat(), ""));
    assert!(client["client_secret"].as_str().unwrap().starts_with("grs_"));
    assert_eq!((&client["type"], &client["access_token_ttl"]), (&"confidential".into(), &"5m".into()));
    let shown = run(&["client", "show", "back-office", "--json"], "");
    assert_eq!(json(&shown)["client_id"], "back-office");
    assert!(!shown.out.contains("grs_") && !shown.out.contains("secret"));
    assert_eq!(json(&run(&["client", "disable", "back-office", "--json"], ""))["disabled"], true);
    assert_eq!(json(&run(&["client", "list", "--json"], "")).as_array().unwrap().len(), 2);
    for table in [&["user", "list"][..], &["role", "list"], &["scope", "list"], &["client", "list"]] {
        assert!(run(table, "").out.lines().count() >= 3, "{table:?}");
    }
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let database = Database::sqlite();
    let run = |arguments: &[&str]| run(database.url(), arguments, "");
    for wrong in [&["nonsense"][..], &["user"], &["user", "create"], &["--nonsense"], &["user", "create", "no name"]] {
        assert_eq!(run(wrong).code, Some(2), "{wrong:?}");
    }
    for right in [&["--help"][..], &["--version"], &["help", "user"], &["user", "create", "--help"]] {
        assert_eq!(run(right).code, Some(0), "{right:?}");
    }
    assert!(run(&["completions", "bash"]).out.contains("grantd"));
}

#[test]
fn a_master_key_is_made() {
    let database = Database::sqlite();
    let one = run(database.url(), &["keygen"], "").out;
    assert_eq!((one.trim().len(), one.lines().count()), (43, 1));
    assert_ne!(one, run(database.url(), &["keygen"], "").out);
}

#[test]
fn settings_are_shown_with_their_source_and_without_secrets() {
    let database = Database::sqlite();
    let key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s";
    let variables = [("GRANTD_MASTER_KEY", key), ("GRANTD_ACCESS_TOKEN_TTL", "5m"), ("GRANTD_NONSENSE", "1")];
    let output = grantd(database.url(), &["config", "--hash-queue", "7", "--json"], "", &variables);
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!out.contains(key) && !error.contains(key));
    assert!(error.contains("GRANTD_NONSENSE"), "{error}");
    let all: Value = serde_json::from_str(&out).unwrap();
    let of = |name: &str| all.as_array().unwrap().iter().find(|one| one["setting"] == name).unwrap().clone();
    assert_eq!(
        (&of("GRANTD_ACCESS_TOKEN_TTL")["value"], &of("GRANTD_ACCESS_TOKEN_TTL")["source"]),
        (&"5m".into(), &"environment".into())
    );
    assert_eq!(of("GRANTD_HASH_QUEUE")["source"], "flag");
    assert_eq!(of("GRANTD_HASH_MEMORY")["source"], "environment");
    assert_eq!(of("GRANTD_SESSION_TTL")["source"], "default");
    assert_eq!(of("GRANTD_MASTER_KEY")["value"], "(hidden)");
}
