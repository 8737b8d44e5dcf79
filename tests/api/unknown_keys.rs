//! `POST /revoke` of tokens whose key this server does not have: invented key ids cause no statements, and a token that another
//! server has just signed is revoked.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    harness::{Admin, Database, Form, PASSWORD, TestServer, eventually, on_both_engines},
    token::claims,
};

on_both_engines!(invented_key_ids_cause_no_statements, new_keys_of_other_servers_are_synced_first);

const ISSUER: [&str; 2] = ["--issuer", "http://id.example"];
const REQUESTS: usize = 50;

/// Returns a token with another key id in its header.
fn with_key(token: &str, kid: &str) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"] = json!(kid);
    format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()))
}

async fn invented_key_ids_cause_no_statements(database: Database) {
    let server = TestServer::start(database).await;
    let token = server.admin().await;
    // A client for each request, so that each has to be read separately.
    let clients =
        server.database().copy_row("clients", "r.client_id = 'default'", REQUESTS, &[("client_id", "'page-' || n.i")]);
    clients.await;
    let before = server.app.store.statements_run();
    let mut requests = tokio::task::JoinSet::new();
    for number in 1..=REQUESTS {
        let form = Form::of(&[("token", &with_key(&token, &format!("invented-{number}")))]);
        let form = form.and("client_id", &format!("page-{number}"));
        requests.spawn(server.request("POST", "/revoke").form(&form).send());
    }
    for answer in requests.join_all().await {
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    let run = server.app.store.statements_run() - before;
    // One for each client, and a few more.
    assert!(run <= REQUESTS as u64 + 5, "{run} statements for {REQUESTS} requests");
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
}

async fn new_keys_of_other_servers_are_synced_first(database: Database) {
    let server = TestServer::with(database, &ISSUER).await;
    let token = server.admin().await;
    let here = Admin { server, token };
    let there = TestServer::on(here.server.database().url(), &ISSUER, here.server.clock.clone()).await.unwrap();
    here.user("maria", &[]).await;
    for _ in 0..5 {
        let rotate = there.request("POST", "/admin/signing-keys").bearer(&here.token);
        rotate.json(&json!({"immediately": true})).send().await.json_with(201);
        let token = there.login("maria", PASSWORD).await;
        // Immediately: this server may not have synced the key yet.
        let revoke = here.server.request("POST", "/revoke").form(&Form::of(&[("token", &token)])).send().await;
        assert_eq!((revoke.status, revoke.body.len()), (200, 0));
        here.server.get("/verify").bearer(&token).send().await.problem(401, "invalid-token");
        eventually("the other server syncs", async || there.get("/verify").bearer(&token).send().await.status == 401)
            .await;
        let sid = claims(&token)["sid"].as_str().unwrap().to_owned();
        let live = here.server.database().number(
            "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'maria' AND s.ended_at IS NULL",
        );
        assert_eq!(live.await, 0, "{sid}");
    }
}
