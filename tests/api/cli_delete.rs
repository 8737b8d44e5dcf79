//! Commands that delete or retire: they show the consequences, ask for confirmation on a terminal, and need `--yes` elsewhere.

use grantd::clock::Clock;
use serde_json::Value;

use crate::{
    cli::{failure, json_of, set_up},
    harness::{Database, PASSWORD, TestServer, grantd, grantd_on_terminal, on_both_engines},
};

on_both_engines!(deletions_show_the_consequences_and_ask_for_confirmation, without_a_terminal_yes_is_required);

/// Creates users, a role, a scope and a client to delete.
fn with_entries(database: &Database) {
    set_up(database);
    json_of(database, &["scope", "set", "items:read"], "");
    json_of(database, &["role", "set", "reader", "--scope", "items:read"], "");
    let client = ["client", "create", "shop", "--type", "public", "--grant", "password", "--scope", "items:read"];
    json_of(database, &client, "");
    for name in ["maria", "nora"] {
        json_of(database, &["user", "create", name, "--role", "reader", "--password-stdin"], PASSWORD);
    }
}

fn active_key(database: &Database) -> String {
    let keys = json_of(database, &["keys", "list"], "");
    let active = keys.as_array().unwrap().iter().find(|key| key["state"] == "active").unwrap();
    active["kid"].as_str().unwrap().to_owned()
}

/// Runs a command, which must succeed. Returns its output.
#[track_caller]
fn done(database: &Database, arguments: &[&str]) -> String {
    let output = grantd(database.url(), arguments, "", &[]);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

async fn deletions_show_the_consequences_and_ask_for_confirmation(database: Database) {
    with_entries(&database);
    let kid = active_key(&database);
    let key = (!database.is_postgres()).then(|| database.directory().join("master.key").display().to_string());
    let flags: Vec<&str> = key.iter().flat_map(|key| ["--master-key-file", key]).collect();
    // Commands use the system clock, so the server does too.
    let server = TestServer::on(database.url(), &flags, Clock::system()).await.unwrap();
    server.login("maria", PASSWORD).await;
    server.login("maria", PASSWORD).await;

    for (arguments, consequence, result) in [
        (["user", "delete", "maria"], "ends 2 sessions", "Deleted the user maria; 2 sessions ended."),
        (
            ["client", "delete", "shop"],
            "This deletes the client shop and revokes all its tokens.",
            "Deleted the client shop; no sessions ended.",
        ),
        (
            ["scope", "delete", "items:read"],
            "removes it from 2 roles, 1 client and 2 users",
            "Deleted the scope items:read",
        ),
        (
            ["role", "delete", "reader"],
            "removes it from 1 user",
            "Deleted the role reader; it was removed from 1 user.",
        ),
        (["keys", "retire", &kid], "the active signing key", "Retired the signing key"),
    ] {
        let before = database.row_counts().await;
        // The client `shop` is deleted before the scope, which only the default client has then.
        for refusal in ["n\n", "\n"] {
            let asked = grantd_on_terminal(database.url(), &arguments, refusal);
            let shown = String::from_utf8(asked.stdout).unwrap();
            assert_eq!(asked.status.code(), Some(1), "{arguments:?}: {shown}");
            assert!(shown.contains(consequence) && shown.contains("Continue? [y/N]"), "{arguments:?}: {shown}");
            assert!(shown.contains("nothing was changed"), "{arguments:?}: {shown}");
        }
        assert_eq!(database.row_counts().await, before, "{arguments:?}");
        let asked = grantd_on_terminal(database.url(), &arguments, "y\n");
        let shown = String::from_utf8(asked.stdout).unwrap();
        assert!(asked.status.success() && shown.contains(result), "{arguments:?}: {shown}");
    }
    assert_ne!(active_key(&database), kid);
}

async fn without_a_terminal_yes_is_required(database: Database) {
    with_entries(&database);
    let kid = active_key(&database);
    let before = database.row_counts().await;
    let commands: [[&str; 3]; 5] = [
        ["user", "delete", "nora"],
        ["client", "delete", "shop"],
        ["role", "delete", "reader"],
        ["scope", "delete", "items:read"],
        ["keys", "retire", &kid],
    ];
    for arguments in &commands {
        let (code, said) = failure(&database, arguments, "y\n");
        assert!(code == Some(1) && said.contains("--yes") && said.contains(arguments[2]), "{arguments:?}: {said}");
    }
    assert_eq!(database.row_counts().await, before);
    // Refused before anything is asked.
    for (built_in, why) in [
        (["role", "delete", "admin"], "cannot delete a built-in role"),
        (["scope", "delete", "account"], "cannot delete a built-in scope"),
        (["client", "delete", "default"], "cannot delete the client default; disable it instead"),
    ] {
        for flags in [&[][..], &["--yes"], &["--json"]] {
            let refused = failure(&database, &[&built_in[..], flags].concat(), "");
            assert_eq!(refused, (Some(1), format!("error: {why}\n")), "{built_in:?}");
        }
    }
    for arguments in &commands {
        let unknown = [arguments[0], arguments[1], "nothing", "--yes"];
        let (code, said) = failure(&database, &unknown, "");
        assert!(code == Some(1) && said.starts_with("error: there is no "), "{unknown:?}: {said}");
    }
    for arguments in &commands {
        let said = done(&database, &[&arguments[..], &["--yes"]].concat());
        assert!(said.contains(arguments[2]), "{arguments:?}: {said}");
    }
    let json = json_of(&database, &["user", "delete", "maria", "--yes"], "");
    assert_eq!(json, Value::Object(serde_json::Map::new()));
}
