//! Rotation of signing keys: a key is published before it signs, and until its last token has expired.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Duration;
use grantd::{audit::Origin, secret::MasterKey};
use serde_json::{Value, json};

use crate::harness::{
    Database, Form, MASTER_KEY, NewClient, PASSWORD, Request, TestServer, eventually, http_client, on_both_engines,
    retire_key, rotate_keys,
};

on_both_engines!(
    keys_rotate_on_schedule,
    another_algorithm_rotates_the_key,
    keys_can_be_rotated_manually_and_immediately,
    retiring_a_key_invalidates_its_tokens,
    several_servers_agree_on_the_keys,
    no_token_is_refused_during_rotations,
    a_rewrap_changes_only_the_master_key,
    a_key_is_published_until_its_last_token_expires,
    keys_record_the_longest_lifetime_of_all_servers,
    keys_can_be_rotated_and_retired_over_http,
    unauthorized_and_invalid_requests_are_refused,
);

fn header(token: &str) -> Value {
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

async fn published(server: &TestServer) -> BTreeSet<String> {
    let set = server.get("/.well-known/jwks.json").send().await.json_with(200);
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn is_accepted(server: &TestServer, token: &str) {
    assert_eq!(server.get("/users/me").bearer(token).send().await.status, 200);
}

async fn eventually_published(server: &TestServer, count: usize) {
    eventually("the number of published keys has changed", async || published(server).await.len() == count).await;
}

async fn eventually_signs_with(server: &TestServer, expected: &str) {
    eventually("another key signs", async || kid(&server.admin().await) == expected).await;
}

async fn keys_rotate_on_schedule(database: Database) {
    let server = TestServer::with(database, &["--signing-key-ttl", "1d"]).await;
    let first = kid(&server.admin().await);
    // Before a key signs, it is published for as long as services may cache an older set, and some seconds longer.
    server.advance(Duration::days(1) - Duration::seconds(311));
    assert_eq!(published(&server).await.len(), 1);
    server.advance(Duration::seconds(2));
    eventually_published(&server, 2).await;
    let both = published(&server).await;
    let second = both.iter().find(|kid| **kid != first).unwrap().clone();
    let old = server.admin().await;
    assert_eq!(kid(&old), first);
    server.advance(Duration::seconds(308));
    assert_eq!(kid(&server.admin().await), first);
    server.advance(Duration::seconds(2));
    eventually_signs_with(&server, &second).await;
    is_accepted(&server, &old).await;
    // Until the last token has expired: 15 minutes, and one minute longer.
    server.advance(Duration::minutes(14));
    assert_eq!(published(&server).await, both);
    server.advance(Duration::minutes(3));
    eventually_published(&server, 1).await;
    assert_eq!(published(&server).await, BTreeSet::from([second]));
    let events = "SELECT count(*) FROM audit_events WHERE kind = 'signing_key.created'";
    assert_eq!(server.database().number(events).await, 2);
}

async fn another_algorithm_rotates_the_key(database: Database) {
    let issuer = ["--issuer", "http://id.example"];
    let server = TestServer::with(database, &issuer).await;
    let old = server.admin().await;
    let database = server.stop();
    let server = TestServer::with(database, &[&issuer[..], &["--signing-algorithm", "EdDSA"]].concat()).await;
    eventually_published(&server, 2).await;
    assert_eq!(header(&server.admin().await)["alg"], "ES256");
    server.advance(Duration::seconds(311));
    eventually("the other algorithm signs", async || header(&server.admin().await)["alg"] == "EdDSA").await;
    is_accepted(&server, &old).await;
    is_accepted(&server, &server.admin().await).await;
}

async fn rotate(server: &TestServer, immediately: bool) -> String {
    let rotated =
        server.within(async move |app, now| rotate_keys(&app, None, immediately, &Origin::system(), now).await);
    rotated.await.unwrap().kid
}

async fn keys_can_be_rotated_manually_and_immediately(database: Database) {
    let server = TestServer::start(database).await;
    let first = server.admin().await;
    let waiting = rotate(&server, false).await;
    assert_eq!(published(&server).await, BTreeSet::from([kid(&first), waiting.clone()]));
    assert_ne!(kid(&server.admin().await), waiting);
    // At most one key waits.
    let other = rotate(&server, false).await;
    assert_eq!(published(&server).await, BTreeSet::from([kid(&first), other]));
    let now = rotate(&server, true).await;
    let token = server.admin().await;
    assert_eq!(kid(&token), now);
    is_accepted(&server, &token).await;
    is_accepted(&server, &first).await;
}

async fn retire(server: &TestServer, kid: &str) -> Result<(), grantd::error::Error> {
    let kid = kid.to_owned();
    server.within(async move |app, now| retire_key(&app, &kid, now).await).await
}

async fn retiring_a_key_invalidates_its_tokens(database: Database) {
    let server = TestServer::start(database).await;
    let token = server.admin().await;
    let compromised = kid(&token);
    retire(&server, &compromised).await.unwrap();
    server.get("/users/me").bearer(&token).send().await.problem(401, "invalid-token");
    let next = server.admin().await;
    assert_ne!(kid(&next), compromised);
    is_accepted(&server, &next).await;
    assert_eq!(published(&server).await, BTreeSet::from([kid(&next)]));
    assert!(retire(&server, &compromised).await.is_err(), "it is already retired");
    // Retiring a waiting key does not affect the others.
    let waiting = rotate(&server, false).await;
    retire(&server, &waiting).await.unwrap();
    assert_eq!(kid(&server.admin().await), kid(&next));
    let events = "SELECT count(*) FROM audit_events WHERE kind = 'signing_key.deleted'";
    assert_eq!(server.database().number(events).await, 2);
}

async fn several_servers_agree_on_the_keys(database: Database) {
    let flags = ["--issuer", "http://id.example", "--signing-key-ttl", "1h"];
    let server = TestServer::with(database, &flags).await;
    let replica = async || {
        let flags = [&flags[..], &["--master-key", MASTER_KEY]].concat();
        TestServer::on(server.database().url(), &flags, server.clock.clone()).await.unwrap()
    };
    let others = [replica().await, replica().await];
    for _ in 0..3 {
        let before = kid(&server.admin().await);
        server.advance(Duration::minutes(58));
        eventually_published(&server, 2).await;
        for other in &others {
            eventually("all publish the same", async || published(other).await == published(&server).await).await;
        }
        server.advance(Duration::minutes(6));
        eventually("another key signs", async || kid(&server.admin().await) != before).await;
        let now = kid(&server.admin().await);
        for other in &others {
            eventually_signs_with(other, &now).await;
            is_accepted(other, &server.admin().await).await;
        }
        let active = "SELECT count(*) FROM signing_keys WHERE state = 'active'";
        assert_eq!(server.database().number(active).await, 1);
        server.advance(Duration::minutes(20));
        eventually_published(&server, 1).await;
    }
}

/// Logins and requests without a pause, during several rotations.
async fn no_token_is_refused_during_rotations(database: Database) {
    let server = TestServer::start(database).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let done = std::sync::Arc::clone(&done);
        let client = http_client();
        let url = server.url().to_owned();
        load.spawn(async move {
            let mut kids = BTreeSet::new();
            let mut kept: Option<String> = None;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let request = Request::new(&client, "POST", &format!("{url}/token"));
                let body = request.form(&Form::admin()).send().await.json_with(200);
                let token = body["access_token"].as_str().unwrap().to_owned();
                for token in [Some(&token), kept.as_ref()].into_iter().flatten() {
                    let request = Request::new(&client, "GET", &format!("{url}/users/me"));
                    assert_eq!(request.bearer(token).send().await.status, 200);
                }
                kids.insert(kid(&token));
                kept.get_or_insert(token);
            }
            kids
        });
    }
    for _ in 0..5 {
        let next = rotate(&server, false).await;
        server.advance(Duration::seconds(60));
        assert_ne!(kid(&server.admin().await), next);
        rotate(&server, true).await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let kids: BTreeSet<_> = load.join_all().await.into_iter().flatten().collect();
    assert!(kids.len() >= 2, "{kids:?}");
}

async fn a_rewrap_changes_only_the_master_key(database: Database) {
    let issuer = ["--issuer", "http://id.example"];
    let server = TestServer::with(database, &issuer).await;
    let body = server.token(&Form::admin()).send().await.json_with(200);
    let before = published(&server).await;
    let new = MasterKey::generate().unwrap();
    let key = new.clone();
    server
        .within(async move |app, now| app.write(async |tx| app.keys.rewrap(tx, &key, now).await).await)
        .await
        .unwrap();
    // The running server continues, and refuses changes that it would encrypt with the old master key.
    is_accepted(&server, &server.admin().await).await;
    let refused = server.within(async |app, now| rotate_keys(&app, None, true, &Origin::system(), now).await.map(drop));
    assert!(refused.await.is_err());
    assert_eq!(published(&server).await, before);
    let database = server.stop();
    let url = database.url().to_owned();
    let old = TestServer::on(&url, &issuer, grantd::clock::Clock::manual(crate::harness::beginning())).await;
    assert!(old.err().unwrap().contains("GRANTD_MASTER_KEY"));
    let text = secrecy::ExposeSecret::expose_secret(&new.to_text()).to_owned();
    let server = TestServer::with(database, &[&issuer[..], &["--master-key", &text]].concat()).await;
    assert_eq!(published(&server).await, before);
    is_accepted(&server, body["access_token"].as_str().unwrap()).await;
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", body["refresh_token"].as_str().unwrap())];
    server.token(&Form::of(&refresh)).send().await.json_with(200);
}

async fn a_key_is_published_until_its_last_token_expires(database: Database) {
    let server = TestServer::start(database).await;
    let long = NewClient { id: "long", confidential: false, access_token_ttl: Some(7200), ..NewClient::default() };
    server.create_client(long).await;
    let body = server.token(&Form::admin().and("client_id", "long")).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    // Also if the lifetime of the client's tokens was shortened since.
    server.database().execute("UPDATE clients SET access_token_ttl = 60 WHERE client_id = 'long'").await.unwrap();
    rotate(&server, true).await;
    server.advance(Duration::seconds(7199));
    rotate(&server, false).await;
    assert!(published(&server).await.contains(&kid(token)));
    is_accepted(&server, token).await;
}

/// As when a command runs without the server's settings.
async fn keys_record_the_longest_lifetime_of_all_servers(database: Database) {
    let issuer = ["--issuer", "http://id.example"];
    let server = TestServer::with(database, &[&issuer[..], &["--access-token-ttl", "1h"]].concat()).await;
    let other = TestServer::on(server.database().url(), &issuer, server.clock.clone()).await.unwrap();
    let longest = "SELECT longest_ttl FROM signing_keys WHERE state = 'active'";
    rotate(&other, true).await;
    assert_eq!(server.database().number(longest).await, 3600);
    let active = kid(&other.admin().await);
    retire(&other, &active).await.unwrap();
    assert_eq!(server.database().number(longest).await, 3600);
}

async fn keys_can_be_rotated_and_retired_over_http(database: Database) {
    let server = TestServer::start(database).await;
    let admin = server.admin().await;
    let list = async || server.get("/admin/signing-keys").bearer(&admin).send().await.json_with(200);
    let before = list().await;
    assert_eq!((&before["next_cursor"], &before["items"][0]["state"]), (&Value::Null, &json!("active")));
    let created =
        server.request("POST", "/admin/signing-keys").bearer(&admin).body("application/json", "{}").send().await;
    let next = created.json_with(201);
    assert_eq!(created.header("location"), format!("/admin/signing-keys/{}", next["kid"].as_str().unwrap()));
    assert_eq!(
        next,
        json!({
            "kid": next["kid"], "algorithm": "ES256", "state": "next", "created_at": "2026-01-31T12:00:00Z",
            "not_before": "2026-01-31T12:05:10Z", "expires_at": null,
        })
    );
    let now = list().await["items"].as_array().unwrap().clone();
    assert!(now.len() == 2 && now.contains(&before["items"][0]) && now.contains(&next), "{now:?}");
    let body = r#"{"algorithm": "EdDSA", "immediately": true}"#;
    let created =
        server.request("POST", "/admin/signing-keys").bearer(&admin).body("application/json", body).send().await;
    assert_eq!(created.json_with(201)["state"], "active");
    let token = server.admin().await;
    assert_eq!(header(&token)["alg"], "EdDSA");
    let path = format!("/admin/signing-keys/{}", kid(&token));
    assert_eq!(server.request("DELETE", &path).bearer(&admin).send().await.status, 204);
    server.get("/users/me").bearer(&token).send().await.problem(401, "invalid-token");
    server.request("DELETE", &path).bearer(&admin).send().await.problem(404, "not-found");
    // The audit log has the actor.
    let deleted = "SELECT count(*) FROM audit_events WHERE kind = 'signing_key.deleted' AND actor IS NOT NULL";
    assert_eq!(server.database().number(deleted).await, 1);
}

async fn unauthorized_and_invalid_requests_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    let user = server.create_user("maria", &[]).await;
    let admin = server.admin().await;
    let maria = server.login("maria", PASSWORD).await;
    let machine =
        NewClient { id: "machine", grants: &["client_credentials"], scopes: "keys:read", ..NewClient::default() };
    let secret = server.create_client(machine).await;
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let reader = server.token(&form).basic("machine", &secret).send().await.json_with(200);
    let reader = reader["access_token"].as_str().unwrap();
    let kid = kid(&admin);
    let before = published(&server).await;
    for (method, path, scope) in [
        ("GET", "/admin/signing-keys".to_owned(), "keys:read"),
        ("POST", "/admin/signing-keys".to_owned(), "keys:write"),
        ("DELETE", format!("/admin/signing-keys/{kid}"), "keys:write"),
    ] {
        // The body is not read before 401 and 403.
        let ask = || server.request(method, &path).body("text/plain", "{broken");
        ask().send().await.problem(401, "unauthorized");
        let lacks = ask().bearer(&maria).send().await;
        lacks.problem(403, "insufficient-scope");
        assert!(lacks.header("www-authenticate").contains(&format!("scope=\"{scope}\"")));
        let by_reader = ask().bearer(reader).send().await;
        assert_eq!(by_reader.status, if scope == "keys:read" { 200 } else { 403 }, "{method}");
    }
    for (content_type, body, status, kind) in [
        ("application/json", "{broken", 400, "malformed-body"),
        ("application/json", "[]", 400, "malformed-body"),
        ("application/json", "", 400, "malformed-body"),
        ("application/json", r#"{"other": 1}"#, 400, "malformed-body"),
        ("application/json", r#"{"immediately": true, "immediately": true}"#, 400, "malformed-body"),
        ("application/json", r#"{"immediately": "yes"}"#, 422, "validation"),
        ("text/plain", "{}", 415, "unsupported-media-type"),
        ("application/json", r#"{"algorithm": "HS256"}"#, 422, "validation"),
    ] {
        let answer = server.request("POST", "/admin/signing-keys").bearer(&admin).body(content_type, body).send().await;
        answer.problem(status, kind);
    }
    for wrong in ["limit=0", "limit=x", "cursor=x"] {
        let answer = server.get(&format!("/admin/signing-keys?{wrong}")).bearer(&admin).send().await;
        assert_eq!(answer.problem(422, "validation")["errors"][0]["field"], wrong.split('=').next().unwrap());
    }
    let large = format!("{{{}}}", " ".repeat(70_000));
    let answer =
        server.request("POST", "/admin/signing-keys").bearer(&admin).body("application/json", large).send().await;
    answer.problem(413, "too-large");
    assert_eq!(published(&server).await, before);
    let other = server.request("PUT", "/admin/signing-keys").bearer(&admin).send().await;
    other.problem(405, "method-not-allowed");
    assert_eq!(other.header("allow"), "GET, HEAD, POST");
    server.set_disabled(&user, true).await;
    server.get("/admin/signing-keys").bearer(&maria).send().await.problem(401, "invalid-token");
}
