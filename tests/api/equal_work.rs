//! An unknown user costs what a wrong password does: statements and hashes are counted, not seconds.

use std::collections::BTreeMap;

use crate::harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines};

on_both_engines!(an_unknown_user_costs_what_a_wrong_password_does, no_work_is_done_for_what_is_refused_anyway);

/// Statements and hashes of one request.
async fn work(server: &TestServer, form: &Form) -> (u64, u64) {
    let app = &server.app;
    let before = (app.store.statements_run(), app.passwords.hashes_run());
    server.token(form).send().await;
    (app.store.statements_run() - before.0, app.passwords.hashes_run() - before.1)
}

/// How often each amount of work was done.
type Distribution = BTreeMap<(u64, u64), usize>;

async fn an_unknown_user_costs_what_a_wrong_password_does(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    let disabled = server.create_user("otto", &[]).await;
    server.set_disabled(&disabled, true).await;
    let names = ["maria", "nobody", "maria@example.com", "nobody@example.com", "otto", "not a name"];
    let mut work_of: BTreeMap<&str, Distribution> = BTreeMap::new();
    // The client is read once.
    work(&server, &Form::password("maria", "wrong")).await;
    // In turns, so that whatever else happens happens to all.
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

    // Also where the hash in the database was made with other parameters: only the right password has it replaced.
    let database = server.stop();
    let server = TestServer::with(database, &["--hash-memory", "16KiB"]).await;
    work(&server, &Form::password("maria", "wrong")).await;
    let wrong = work(&server, &Form::password("maria", "wrong")).await;
    assert_eq!(work(&server, &Form::password("nobody", "wrong")).await, wrong);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 2);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 1);
}

async fn no_work_is_done_for_what_is_refused_anyway(database: Database) {
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
