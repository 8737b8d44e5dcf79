//! A login of an unknown user causes the same statements and hashes as a wrong password.

use std::collections::BTreeMap;

use crate::harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines};

on_both_engines!(unknown_users_and_wrong_passwords_cost_the_same, requests_that_are_refused_early_cause_no_hash);

/// Returns the number of statements and hashes of one request.
async fn work(server: &TestServer, form: &Form) -> (u64, u64) {
    let app = &server.app;
    let before = (app.store.statements_run(), app.passwords.hashes_run());
    server.token(form).send().await;
    (app.store.statements_run() - before.0, app.passwords.hashes_run() - before.1)
}

/// How often each pair of these numbers occurred.
type Distribution = BTreeMap<(u64, u64), usize>;

async fn unknown_users_and_wrong_passwords_cost_the_same(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    let disabled = server.create_user("otto", &[]).await;
    server.set_disabled(&disabled, true).await;
    let names = ["maria", "nobody", "maria@example.com", "nobody@example.com", "otto", "not a name"];
    let mut work_of: BTreeMap<&str, Distribution> = BTreeMap::new();
    // Warms up: the first request may cause more statements.
    work(&server, &Form::password("maria", "wrong")).await;
    // In turns, so that background work affects all names alike.
    for round in 0..20 {
        for name in names {
            let done = work(&server, &Form::password(name, &format!("wrong {round}"))).await;
            *work_of.entry(name).or_default().entry(done).or_default() += 1;
        }
    }
    let expected = work_of["maria"].clone();
    assert!(expected.keys().all(|(statements, hashes)| *statements > 0 && *hashes == 1), "{expected:?}");
    for (name, distribution) in &work_of {
        assert_eq!(*distribution, expected, "{name}");
    }

    // Also if the stored hash has other parameters: only the right password replaces it.
    let database = server.stop();
    let server = TestServer::with(database, &["--hash-memory", "16KiB"]).await;
    work(&server, &Form::password("maria", "wrong")).await;
    let wrong = work(&server, &Form::password("maria", "wrong")).await;
    assert_eq!(work(&server, &Form::password("nobody", "wrong")).await, wrong);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 2);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 1);
}

async fn requests_that_are_refused_early_cause_no_hash(database: Database) {
    let server = TestServer::start(database).await;
    server.create_client(NewClient::default()).await;
    for form in [
        Form::password("maria", &"x".repeat(1025)),
        Form::password("maria", "wrong").and("scope", "nothing:like:that"),
        Form::password("maria", "wrong").and("resource", "https://elsewhere.example"),
        Form::password("maria", "wrong").and("client_id", "back-office").and("client_secret", "wrong"),
        Form::password("maria", "wrong").set("grant_type", "implicit"),
        Form::password("maria", "wrong").and("username", "maria"),
    ] {
        assert_eq!(work(&server, &form).await.1, 0, "{form:?}");
    }
}
