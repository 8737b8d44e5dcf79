//! `GET /users/me`: the response, and the required credentials.

use chrono::Duration;
use serde_json::json;

use crate::{
    harness::{Answer, Database, Form, NewClient, PASSWORD, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(
    the_response_has_the_account_without_secrets,
    the_response_is_up_to_date,
    invalid_credentials_get_a_challenge,
    modified_and_expired_tokens_are_refused,
    the_scope_account_is_required,
    disabled_and_deleted_users_are_refused_at_once,
    concurrent_requests_return_their_own_account,
    users_export_their_own_data,
);

async fn the_response_has_the_account_without_secrets(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.try_create_user("maria", Some("Maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    server.advance(Duration::milliseconds(1500));
    let token = server.login("maria", PASSWORD).await;
    let answer = server.get("/users/me").bearer(&token).send().await;
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "no-store"));
    assert_eq!(
        answer.json_with(200),
        json!({
            "id": maria.id,
            "username": "maria",
            "email": "Maria@example.com",
            "display_name": null,
            "roles": ["admin", "member"],
            "scopes": [
                "account", "audit:read", "clients:read", "clients:write", "keys:read", "keys:write", "roles:read",
                "roles:write", "tokens:introspect", "users:read", "users:write",
            ],
            "created_at": "2026-01-31T12:00:00Z",
            "last_login_at": "2026-01-31T12:00:01.500Z",
        })
    );
    let head = server.request("HEAD", "/users/me").bearer(&token).send().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

async fn the_response_is_up_to_date(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read"]).await;
    server.put_role("reader", "items:read").await;
    let maria = server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    server.set_roles(&maria, &["reader"]).await;
    let me = server.get("/users/me").bearer(&token).send().await.json_with(200);
    assert_eq!((&me["roles"], &me["scopes"]), (&json!(["member", "reader"]), &json!(["account", "items:read"])));
    assert_eq!((&me["email"], &me["display_name"]), (&json!(null), &json!(null)));
}

/// Checks a refusal and its only challenge, which has the scheme `Bearer`.
#[track_caller]
fn refused(answer: &Answer, status: u16, kind: &str, challenge: &str) {
    answer.problem(status, kind);
    let challenges = answer.headers_named("www-authenticate");
    // Without credentials, a second challenge offers Basic.
    let basic = "Basic realm=\"grantd\", charset=\"UTF-8\"";
    let others: &[&str] = if kind == "unauthorized" { &[basic] } else { &[] };
    assert_eq!(challenges[1..], *others, "{challenges:?}");
    assert!(challenges[0].starts_with(&format!("Bearer realm=\"grantd\"{challenge}")), "{challenges:?}");
}

async fn invalid_credentials_get_a_challenge(database: Database) {
    let server = TestServer::start(database).await;
    let token = server.admin().await;
    let me = || server.get("/users/me");

    let none = me().send().await;
    refused(&none, 401, "unauthorized", "");
    assert_eq!(none.headers_named("www-authenticate")[0], "Bearer realm=\"grantd\"", "without an error code");
    // A wrong password, and other schemes.
    for other in ["Basic YWRtaW46eA==", "Digest x", "Bearerx y"] {
        refused(&me().header("Authorization", other).send().await, 401, "unauthorized", "");
    }
    let twice = me().bearer(&token).bearer(&token).send().await;
    refused(&twice, 400, "invalid-request", ", error=\"invalid_request\"");
    let in_query = server.get(&format!("/users/me?access_token={token}"));
    refused(&in_query.bearer(&token).send().await, 400, "invalid-request", ", error=\"invalid_request\"");
    // A token in the query alone is ignored (RFC 9700 §4.3.2).
    refused(&server.get(&format!("/users/me?access_token={token}")).send().await, 401, "unauthorized", "");
    for malformed in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer =", "Bearer \"x\""] {
        let answer = me().header("Authorization", malformed).send().await;
        refused(&answer, 400, "invalid-request", ", error=\"invalid_request\"");
    }
    // The scheme is case-insensitive, and several spaces may follow it.
    for right in [format!("bearer {token}"), format!("BEARER   {token}")] {
        assert_eq!(me().header("Authorization", right).send().await.status, 200);
    }
}

async fn modified_and_expired_tokens_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    let body = server.token(&Form::admin()).send().await.json_with(200);
    let (token, refresh) = (body["access_token"].as_str().unwrap(), body["refresh_token"].as_str().unwrap());
    let mut parts: Vec<&str> = token.split('.').collect();
    let other = server.admin().await;
    let [_, payload, signature] = other.split('.').collect::<Vec<_>>()[..] else { panic!("{other}") };
    let mut wrong = vec![
        "x".to_owned(),
        "a.b.c".to_owned(),
        refresh.to_owned(),
        "grk_0123456789".to_owned(),
        token[..token.len() - 1].to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{payload}.{}", parts[0], parts[2]),
        // {"alg":"none","typ":"at+jwt"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]),
        "e30.".repeat(4000),
    ];
    parts[2] = signature;
    wrong.push(parts.join("."));
    for token in wrong.iter().filter(|token| token.len() < 14_000) {
        let answer = server.get("/users/me").bearer(token).send().await;
        refused(&answer, 401, "invalid-token", ", error=\"invalid_token\", error_description=\"");
        assert!(token.len() < 4 || !answer.text().contains(token.as_str()), "the token is not repeated");
    }
    // Cached claims expire with the token.
    assert_eq!(server.get("/users/me").bearer(token).send().await.status, 200);
    server.advance(Duration::minutes(15));
    let answer = server.get("/users/me").bearer(token).send().await;
    refused(&answer, 401, "invalid-token", ", error=\"invalid_token\", error_description=\"the token expired\"");
}

async fn the_scope_account_is_required(database: Database) {
    let server = TestServer::start(database).await;
    let body = server.token(&Form::admin().and("scope", "users:read")).send().await.json_with(200);
    let answer = server.get("/users/me").bearer(body["access_token"].as_str().unwrap()).send().await;
    refused(&answer, 403, "insufficient-scope", ", error=\"insufficient_scope\", scope=\"account\"");
}

async fn disabled_and_deleted_users_are_refused_at_once(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
    server.set_disabled(&maria, true).await;
    let answer = server.get("/users/me").bearer(&token).send().await;
    refused(&answer, 401, "invalid-token", ", error=\"invalid_token\", error_description=\"the token was revoked\"");
    // The same for a deleted user. Others are not affected.
    let admin = server.admin().await;
    server.database().execute("DELETE FROM users WHERE username = 'maria'").await.unwrap();
    let answer = server.get("/users/me").bearer(&token).send().await;
    refused(&answer, 401, "invalid-token", ", error=\"invalid_token\", error_description=\"the token was revoked\"");
    assert_eq!(server.get("/users/me").bearer(&admin).send().await.status, 200);
}

async fn concurrent_requests_return_their_own_account(database: Database) {
    let server = TestServer::start(database).await;
    server.create_client(NewClient { id: "app", confidential: false, ..NewClient::default() }).await;
    let mut tokens = Vec::new();
    for at in 0..40 {
        let name = format!("user-{at}");
        server.create_user(&name, &[]).await;
        tokens.push(server.login(&name, PASSWORD).await);
    }
    let mut requests = tokio::task::JoinSet::new();
    for token in tokens.iter().cycle().take(400) {
        let (request, name) = (server.get("/users/me").bearer(token), claims(token)["username"].clone());
        requests.spawn(async move { (request.send().await, name) });
    }
    while let Some(done) = requests.join_next().await {
        let (answer, name) = done.unwrap();
        assert_eq!(answer.json_with(200)["username"], name);
    }
}

async fn users_export_their_own_data(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    server.create_user("peter", &[]).await;
    server.login("peter", PASSWORD).await;
    server.advance(Duration::seconds(1));
    server.login("maria", PASSWORD).await;
    server.advance(Duration::seconds(1));
    let token = server.login("maria", PASSWORD).await;
    server.advance(Duration::seconds(1));
    let key = json!({"name": "a script", "scopes": ["account"]});
    let key = server.request("POST", "/users/me/api-keys").bearer(&token).json(&key).send().await.json_with(201);
    let answer = server.get("/users/me/export").bearer(&token).send().await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let data = answer.json_with(200);
    assert_eq!(data["user"], server.get("/users/me").bearer(&token).send().await.json_with(200));
    let sessions = data["sessions"].as_array().unwrap();
    let current: Vec<_> = sessions.iter().map(|session| session["current"] == true).collect();
    assert_eq!(current, [false, true]);
    assert_eq!((&data["api_keys"][0]["id"], &data["api_keys"][0]["key"]), (&key["id"], &json!(null)));
    let events = data["audit_events"].as_array().unwrap();
    assert!(events.iter().all(|event| event["subject"] == maria.id.to_string()), "{data}");
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["api_key.created", "login", "login", "user.created"]);
    assert_eq!(data["truncated"], false);
    let text = answer.text();
    assert!(!text.contains("argon2") && !text.contains("grk_") && !text.contains("peter"), "{text}");

    // Of the events, the newest 1,000.
    let insert = format!(
        "INSERT INTO audit_events (id, at, kind, outcome, subject, details) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000) \
         SELECT {}, u.created_at, 'login', 'success', '{}', '{{}}' FROM numbers, users u WHERE u.username = 'maria'",
        if server.database().is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" },
        maria.id
    );
    server.database().execute(&insert).await.unwrap();
    let data = server.get("/users/me/export").bearer(&token).send().await.json_with(200);
    assert_eq!((data["audit_events"].as_array().unwrap().len(), &data["truncated"]), (1000, &json!(true)));
}
