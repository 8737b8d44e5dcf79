//! HTTP Basic: a user's name and password with each request.

use chrono::Duration;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, Database, PASSWORD, TestServer, on_both_engines};

on_both_engines!(
    a_name_and_password_are_a_credential,
    a_pair_is_hashed_once_a_minute,
    requests_at_once_share_a_hash,
    a_pair_is_forgotten_when_the_user_changes,
    wrong_pairs_are_refused_alike,
    logins_are_recorded_once_a_minute,
    it_can_be_disabled,
    pages_of_other_sites_cannot_use_a_stored_password,
);

const CHALLENGES: [&str; 2] = ["Bearer realm=\"grantd\"", "Basic realm=\"grantd\", charset=\"UTF-8\""];

async fn with_maria(database: Database, flags: &[&str]) -> TestServer {
    let server = TestServer::with(database, flags).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    server
}

async fn me(server: &TestServer, name: &str, password: &str) -> Answer {
    server.get("/users/me").basic_user(name, password).send().await
}

async fn a_name_and_password_are_a_credential(database: Database) {
    let server = with_maria(database, &[]).await;
    for name in ["maria", "MARIA", "maria@example.com"] {
        assert_eq!(me(&server, name, PASSWORD).await.json_with(200)["username"], "maria");
    }
    assert_eq!(server.get("/admin/users").basic_user("maria", PASSWORD).send().await.status, 200);
    let verify = server.get("/verify?scope=users:read").basic_user("maria", PASSWORD).send().await;
    assert_eq!((verify.status, verify.header("x-auth-username")), (204, "maria"));
    assert!(verify.headers_named("x-auth-session").is_empty());
    // The scheme in any case, and UTF-8 in the password.
    server.try_create_user("otto", None, "päss:wörd größer", &[]).await.unwrap();
    assert_eq!(me(&server, "otto", "päss:wörd größer").await.status, 200);
    // It makes no session.
    let sessions = server.get("/users/me/sessions").basic_user("maria", PASSWORD).send().await.json_with(200);
    assert_eq!(sessions["items"], json!([]));
    // A new password by Basic ends all sessions.
    let token = server.login("otto", "päss:wörd größer").await;
    let body = json!({"current_password": "päss:wörd größer", "new_password": PASSWORD});
    let request = server.request("PUT", "/users/me/password").basic_user("otto", "päss:wörd größer").json(&body);
    assert_eq!(request.send().await.status, 204);
    server.get("/users/me").bearer(&token).send().await.problem(401, "invalid-token");
}

async fn a_pair_is_hashed_once_a_minute(database: Database) {
    let server = with_maria(database, &[]).await;
    let hashes = async || {
        let before = server.app.passwords.hashes_run();
        assert_eq!(me(&server, "maria", PASSWORD).await.status, 200);
        server.app.passwords.hashes_run() - before
    };
    assert_eq!([hashes().await, hashes().await, hashes().await], [1, 0, 0]);
    server.advance(Duration::seconds(59));
    assert_eq!(hashes().await, 0);
    server.advance(Duration::seconds(1));
    assert_eq!([hashes().await, hashes().await], [1, 0]);
    // A wrong password is hashed each time.
    let before = server.app.passwords.hashes_run();
    for _ in 0..2 {
        me(&server, "maria", "a wrong password").await.problem(401, "unauthorized");
    }
    assert_eq!(server.app.passwords.hashes_run() - before, 2);
}

async fn requests_at_once_share_a_hash(database: Database) {
    let server = with_maria(database, &["--hash-queue", "1"]).await;
    let requests = async |password: &str| {
        let before = server.app.passwords.hashes_run();
        let mut requests = JoinSet::new();
        for _ in 0..100 {
            requests.spawn(server.get("/users/me").basic_user("maria", password).send());
        }
        (requests.join_all().await, server.app.passwords.hashes_run() - before)
    };
    let (answers, hashes) = requests(PASSWORD).await;
    for answer in answers {
        assert_eq!(answer.json_with(200)["username"], "maria");
    }
    assert_eq!(hashes, 1);
    let (answers, _) = requests("a wrong password").await;
    for answer in answers {
        answer.problem(401, "unauthorized");
    }
    // An outdated hash is renewed by the first request, and the new one verified by one of the others: two hashes, and one
    // for the new hash.
    server.advance(Duration::minutes(1));
    let outdated = "$6$saltsalt$NJsLl3SlVxUOoPWbfoZ6V59ne9wfFJd7Vy1zkYUSXt3AF5Sef9Mx3Nrm2qPZlmGWLFkxVQW.r3sY0x95Vx5Be0";
    let change = format!("UPDATE users SET password_hash = '{outdated}' WHERE username = 'maria'");
    server.database().execute(&change).await.unwrap();
    let (answers, hashes) = requests(PASSWORD).await;
    for answer in answers {
        assert_eq!(answer.json_with(200)["username"], "maria");
    }
    assert_eq!(hashes, 3);
}

async fn a_pair_is_forgotten_when_the_user_changes(database: Database) {
    let server = with_maria(database, &[]).await;
    let otto = server.create_user("otto", &[]).await;
    let admin = server.admin().await;
    let path = format!("/admin/users/{}", otto.id);
    let change = async |method: &str, path: &str, body: Value| {
        let answer = server.request(method, path).bearer(&admin).json(&body).send().await;
        assert!(answer.status < 300, "{}", answer.text());
    };
    assert_eq!(me(&server, "otto", PASSWORD).await.status, 200);
    change("PATCH", &path, json!({"disabled": true})).await;
    me(&server, "otto", PASSWORD).await.problem(401, "unauthorized");
    change("PATCH", &path, json!({"disabled": false})).await;
    assert_eq!(me(&server, "otto", PASSWORD).await.status, 200);
    change("PATCH", &path, json!({"username": "ottokar"})).await;
    me(&server, "otto", PASSWORD).await.problem(401, "unauthorized");
    assert_eq!(me(&server, "ottokar", PASSWORD).await.status, 200);
    change("PUT", &format!("{path}/password"), json!({"password": "staple and much more"})).await;
    me(&server, "ottokar", PASSWORD).await.problem(401, "unauthorized");
    assert_eq!(me(&server, "ottokar", "staple and much more").await.status, 200);
    assert_eq!(server.request("DELETE", &path).bearer(&admin).send().await.status, 204);
    me(&server, "ottokar", "staple and much more").await.problem(401, "unauthorized");
}

async fn wrong_pairs_are_refused_alike(database: Database) {
    let server = with_maria(database, &[]).await;
    let wrong = me(&server, "maria", "a wrong password").await;
    assert_eq!(wrong.headers_named("www-authenticate"), CHALLENGES);
    for (name, password) in [("nobody", PASSWORD), ("", PASSWORD), ("maria", ""), ("maria", &*"x".repeat(1025))] {
        let answer = me(&server, name, password).await;
        let body = |answer: &Answer| {
            let mut body = answer.problem(401, "unauthorized");
            body["instance"] = json!(null);
            body
        };
        assert_eq!(body(&answer), body(&wrong), "{name}");
        assert_eq!(answer.headers_named("www-authenticate"), CHALLENGES);
    }
    // Two have U+0000: `ma\0ria:x` and `maria:x\0`.
    for malformed in ["Basic", "Basic %%%", "Basic bWFyaWE=", "Basic //8=", "Basic bWEAcmlhOng=", "Basic bWFyaWE6eAA="]
    {
        let answer = server.get("/users/me").header("Authorization", malformed).send().await;
        answer.problem(401, "unauthorized");
    }
    let none = server.get("/users/me").send().await;
    assert_eq!(none.headers_named("www-authenticate"), CHALLENGES);
}

async fn logins_are_recorded_once_a_minute(database: Database) {
    let server = with_maria(database, &[]).await;
    let admin = server.admin().await;
    let events = async |kind: &str| {
        let path = format!("/admin/audit-events?kind={kind}");
        let events = server.get(&path).bearer(&admin).send().await.json_with(200);
        let is_basic = |event: &&Value| event["details"]["method"] == "basic";
        events["items"].as_array().unwrap().iter().filter(is_basic).cloned().collect::<Vec<_>>()
    };
    // Two names of one account.
    for name in ["maria", "maria@example.com", "maria"] {
        assert_eq!(me(&server, name, PASSWORD).await.status, 200);
    }
    let first = events("login").await;
    assert_eq!(first.len(), 1);
    assert_eq!((&first[0]["outcome"], &first[0]["actor"]), (&json!("success"), &first[0]["subject"]));
    let shown = me(&server, "maria", PASSWORD).await.json_with(200);
    assert_eq!((&shown["id"], &shown["last_login_at"]), (&first[0]["subject"], &json!("2026-01-31T12:00:00Z")));
    server.advance(Duration::minutes(1));
    assert_eq!(me(&server, "maria", PASSWORD).await.status, 200);
    assert_eq!(events("login").await.len(), 2);
    me(&server, "maria", "a wrong password").await.problem(401, "unauthorized");
    let failed = events("login.failed").await;
    assert_eq!(failed[0]["details"], json!({"reason": "wrong_password", "method": "basic"}));
}

async fn it_can_be_disabled(database: Database) {
    let server = with_maria(database, &["--basic-auth", "false"]).await;
    let answer = me(&server, "maria", PASSWORD).await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.headers_named("www-authenticate"), CHALLENGES[..1]);
    assert_eq!(server.app.passwords.hashes_run(), 2, "one for each user that was created");
}

async fn pages_of_other_sites_cannot_use_a_stored_password(database: Database) {
    let app = "https://app.example.com";
    let server = with_maria(database, &["--cors-origins", app]).await;
    let patch = |headers: &[(&str, &str)]| {
        let request = server.request("PATCH", "/users/me").basic_user("maria", PASSWORD);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.json(&json!({"display_name": "Mária"}))
    };
    let issuer = server.url().to_owned();
    for headers in [
        &[][..],
        &[("Origin", &*issuer)],
        &[("Origin", app)],
        &[("Origin", app), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-origin")],
    ] {
        assert_eq!(patch(headers).send().await.status, 200, "{headers:?}");
    }
    for headers in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
    ] {
        let answer = patch(headers).send().await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    // Reading is safe: the page does not see the answer. And a token is not sent by the browser on its own.
    let read = server.get("/users/me").basic_user("maria", PASSWORD).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(read.send().await.status, 200);
    let token = server.login("maria", PASSWORD).await;
    let with_token = server.request("PATCH", "/users/me").bearer(&token).header("Origin", "https://evil.example");
    assert_eq!(with_token.json(&json!({"display_name": "Mária"})).send().await.status, 200);
}
