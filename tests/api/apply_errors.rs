//! What is wrong with a set-up file: all of it is reported at once, with the file and the place, and nothing is changed.

use serde_json::Value;

use crate::{
    apply::{EXAMPLE, apply, lines, new_secret, refused, set_up, traces},
    harness::{Database, PASSWORD, grantd, on_both_engines},
};

on_both_engines!(
    a_dry_run_shows_the_plan_and_all_missing_variables,
    every_malformed_entry_is_reported_with_its_line,
    an_error_in_the_last_entry_leaves_nothing,
);

async fn a_dry_run_shows_the_plan_and_all_missing_variables(database: Database) {
    set_up(&database);
    let before = traces(&database).await;
    let file = format!("{EXAMPLE}[[users]]\nusername = 'joe'\npassword_env = 'JOES_PASSWORD'\n");
    let output = apply(&database, &file, &["--dry-run"], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let would: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let all = [
        "create scope items:read",
        "create scope items:write",
        "create role editor",
        "create client shop",
        "create client nightly",
        "create user maria",
        "create user joe",
    ];
    assert_eq!(lines(&would), all);
    let missing = "error: /dev/stdin: 3 errors:\n  \
                   clients[1].secret_env: the variable NIGHTLY_SECRET is not set\n  \
                   users[0].password_env: the variable MARIAS_PASSWORD is not set\n  \
                   users[1].password_env: the variable JOES_PASSWORD is not set\n";
    assert_eq!(said, missing);
    // Without --dry-run the same, and nothing is made.
    assert_eq!(refused(&database, &file, &[], &[]), missing);
    // Where the plan is wrong, too, all of it is said, and there is no plan.
    let wrong = file.replace("roles = [\"editor\"]", "roles = [\"writer\"]").replace("\"account\"", "\"items:none\"");
    for flags in [&["--dry-run"][..], &[]] {
        let why = refused(&database, &wrong, flags, &[]);
        assert!(why.starts_with("error: /dev/stdin: 5 errors:\n"), "{why}");
        for problem in
            ["clients[0].scopes: scope items:none does not exist", "users[0].roles: role writer does not exist"]
        {
            assert!(why.contains(problem), "{why}");
        }
    }
    assert_eq!(traces(&database).await, before);
}

async fn every_malformed_entry_is_reported_with_its_line(database: Database) {
    set_up(&database);
    let before = traces(&database).await;
    let malformed = "[[users]]\nusername = 'a b'\n[[users]]\nusername = 'joe'\nage = 7\n[[scopes]]\n[[roles]]\nname = 'r'\n\
                     scopes = ['a b']\n[groups]\n";
    let why = refused(&database, malformed, &[], &[]);
    let starts = [
        "error: /dev/stdin: 5 errors:",
        "  line 2, users[0].username: must consist of",
        "  line 5, users[1].age: unknown field",
        "  line 6, scopes[0]: missing field `name`",
        "  line 9, roles[0].scopes: ",
        "  line 10, groups: unknown section",
    ];
    assert_eq!(why.lines().count(), starts.len(), "{why}");
    assert!(why.lines().zip(starts).all(|(line, start)| line.starts_with(start)), "{why}");
    assert_eq!(traces(&database).await, before);
}

async fn an_error_in_the_last_entry_leaves_nothing(database: Database) {
    set_up(&database);
    let before = traces(&database).await;
    let variables = [("NIGHTLY_SECRET", new_secret()), ("MARIAS_PASSWORD", PASSWORD.to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let last = |entry: &str| format!("{EXAMPLE}[[users]]\npassword_env = 'MARIAS_PASSWORD'\n{entry}\n");
    for (entry, problem) in [
        ("username = 'joe'\nroles = ['nobody']", "users[1].roles: role nobody does not exist"),
        ("username = 'joe'\nemail = 'MARIA@example.com'", "users[1].email: is already taken"),
        ("username = 'joe@example.com'", "users[1].username: a username with @"),
        ("username = 'joe'\ndisplay_name = ''", "users[1].display_name: must have"),
        ("username = 'MARIA'", "users[1].username: maria is there twice"),
        ("username = 'joe'\npassword_file = '/x'", "users[1].password_file: only one of"),
        ("username = 'joe'\nemail = 'nowhere'", "users[1].email: must be an email address"),
        ("username = 'joe'\npassword = 'a secret at a wrong place'", "line 46, users[1].password: unknown field"),
        ("username = 'joe'\nroles = 'a secret at a wrong place", "line 46: "),
        ("username = 'joe'\n[[roles]]\nname = 'admin'\nscopes = []", "roles[1].name: the role admin"),
        ("username = 'joe'\n[[roles]]\nname = 'member'\nscopes = []", "roles[1]: cannot remove the scope account"),
        ("username = 'joe'\n[[scopes]]\nname = 'a/b'", "scopes[2].name: must not contain a slash"),
        ("username = 'joe'\n[[clients]]\nclient_id = 'x1'", "clients[2]: missing field `name`"),
    ] {
        let why = refused(&database, &last(entry), &[], &variables);
        assert!(why.contains(problem) && !why.contains("wrong place"), "{entry}: {why}");
    }
    // All at once.
    let why = refused(&database, &last("username = 'joe'"), &[], &[("NIGHTLY_SECRET", "grs_x")]);
    assert!(why.contains("clients[1].secret_env: is not a grantd client secret"), "{why}");
    let why = refused(&database, &last("username = 'joe'"), &[], &variables[..1]);
    for index in [0, 1] {
        assert!(
            why.contains(&format!("users[{index}].password_env: the variable MARIAS_PASSWORD is not set")),
            "{why}"
        );
    }
    let kind = "[[clients]]\nclient_id = 'default'\nname = 'D'\ntype = 'confidential'\ngrant_types = ['password']\nscopes = []\n";
    let why = refused(&database, kind, &[], &[]);
    assert!(why.contains("clients[0].type: default is public"), "{why}");
    let output = grantd(database.url(), &["apply", "/nowhere/grantd.toml"], "", &[]);
    let why = String::from_utf8(output.stderr).unwrap();
    assert_eq!(why, "error: /nowhere/grantd.toml: cannot be read: No such file or directory\n");
    assert_eq!(traces(&database).await, before);
}
