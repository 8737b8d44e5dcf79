//! What throttling costs, what it leaves in the database, and how it is switched off.

use std::sync::Arc;

use chrono::Duration;
use grantd::app::App;
use serde_json::json;

use crate::{
    harness::{Database, Form, PASSWORD, TestServer, eventually, on_both_engines},
    throttle::{AWAY, HOME, PROXY, STRANGER, device_token, events, guess, start, try_from, use_up},
};

on_both_engines!(
    budgets_can_be_off,
    a_login_costs_two_statements_more,
    throttled_names_cost_the_same,
    a_hash_that_has_begun_counts_without_its_caller,
    old_budgets_are_deleted,
);

async fn budgets_can_be_off(database: Database) {
    let flags = [&PROXY[..], &["--login-failures", "off", "--network-failures", "off"]].concat();
    let server = TestServer::with(database, &flags).await;
    for _ in 0..120 {
        assert_eq!(guess(&server, STRANGER, "admin").await, (400, None));
    }
    assert_eq!(server.database().number("SELECT count(*) FROM throttle").await, 0);
}

async fn a_login_costs_two_statements_more(database: Database) {
    let server = start(database).await;
    let login = async |server: &TestServer, password: &str| {
        let form = Form::password("maria", password);
        // Twice: the first login from a network makes it known.
        try_from(server, HOME, &form).await;
        let before = server.app.store.statements_run();
        try_from(server, HOME, &form).await;
        server.app.store.statements_run() - before
    };
    let (right, wrong) = (login(&server, PASSWORD).await, login(&server, "wrong").await);
    let database = server.stop();
    let flags = [&PROXY[..], &["--login-failures", "off", "--network-failures", "off"]].concat();
    let server = TestServer::with(database, &flags).await;
    assert_eq!(right, login(&server, PASSWORD).await + 2);
    assert_eq!(wrong, login(&server, "wrong").await + 1);
}

async fn throttled_names_cost_the_same(database: Database) {
    let server = start(database).await;
    let admin = server.admin().await;
    let token = device_token(&server, "maria", HOME).await;
    use_up(&server, "maria").await;
    use_up(&server, "nobody").await;
    let device = |token: &str| Form::password("maria", "wrong").and("device_token", token);
    let cost_of = async |form: &Form| {
        let before = (server.app.store.statements_run(), server.app.passwords.hashes_run());
        let answer = try_from(&server, AWAY, form).await;
        let (status, mut headers, body) = answer.to_the_byte();
        headers.remove("x-request-id");
        let app = &server.app;
        let cost = (app.store.statements_run() - before.0, app.passwords.hashes_run() - before.1);
        (status, headers, body, cost)
    };
    let cost = async |name: &str| cost_of(&Form::password(name, "wrong")).await;
    let of_maria = cost("maria").await;
    assert_eq!((of_maria.0, of_maria.3), (429, (4, 0)), "client, user, reservation, wait");
    assert_eq!(cost("nobody").await, of_maria);
    // Again within a second: from memory.
    let again = cost("MARIA").await;
    assert_eq!((again.0, again.3), (429, (1, 0)), "client");
    assert_eq!(cost("nobody").await, again);
    assert_eq!(cost_of(&device("grd_wrong")).await, again);
    // A device has a budget of its own.
    assert_eq!(cost_of(&device(&token)).await.0, 400);
    // From the next failure on, the wait is longer than the memory.
    server.advance(Duration::seconds(1));
    for name in ["maria", "nobody"] {
        assert_eq!(cost(name).await.0, 400);
        assert_eq!(cost(name).await.3, (4, 0));
    }
    server.advance(Duration::seconds(1));
    let later = cost("maria").await;
    assert_eq!((later.0, later.3), (429, (4, 0)));
    assert_eq!(cost("nobody").await, later);
    // The events of both have the same form, too.
    let events = events(&server, &admin, "login.throttled").await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["details"] == json!({"budget": "account"})));
}

/// Callers who leave do not guess for free.
async fn a_hash_that_has_begun_counts_without_its_caller(database: Database) {
    let server = start(database).await;
    let hash = "$argon2id$v=19$m=65536,t=20,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = 'maria'");
    server.database().execute(&change).await.unwrap();
    let failures = "SELECT CAST(coalesce(sum(failures), 0) AS BIGINT) FROM throttle";
    let hashes = server.app.passwords.hashes_run();
    let request = server.token(&Form::password("maria", "wrong")).header("X-Forwarded-For", STRANGER);
    let gone = tokio::spawn(request.send());
    eventually("the hash has begun", async || server.app.passwords.hashes_run() == hashes + 1).await;
    gone.abort();
    // Another one waits for the only hash thread, and its caller leaves before it begins.
    let request = server.token(&Form::password("otto", "wrong")).header("X-Forwarded-For", AWAY);
    let waits = tokio::spawn(request.send());
    eventually("it waits", async || server.app.passwords.waiting() == 1).await;
    waits.abort();
    // Account and network of the first.
    eventually("only the first counts", async || server.database().number(failures).await == 2).await;
    eventually("the thread is idle", async || server.app.passwords.waiting() == 0).await;
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1);
    assert_eq!(server.database().number(failures).await, 2);
}

async fn old_budgets_are_deleted(database: Database) {
    let server = start(database).await;
    assert_eq!(try_from(&server, HOME, &Form::password("maria", PASSWORD)).await.status, 200);
    for number in 0..5 {
        guess(&server, STRANGER, &format!("name-{number}")).await;
    }
    let rows = async || server.database().number("SELECT count(*) FROM throttle").await;
    let sweep = async || {
        let work = async |app: Arc<App>, now| app.throttle.sweep(&app.store, now, 200).await.unwrap();
        server.within(work).await
    };
    // Five names and a network, the network of the owner, and the budgets that its login gave back.
    assert_eq!(rows().await, 9);
    sweep().await;
    assert_eq!(rows().await, 7);
    server.advance(Duration::hours(1) + Duration::seconds(1));
    sweep().await;
    assert_eq!(rows().await, 1, "the known network is left");
    server.advance(Duration::days(90));
    sweep().await;
    assert_eq!(rows().await, 0);
}
