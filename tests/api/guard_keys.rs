//! Services that accept API keys with `grantd-guard`, and when they refuse one that they have accepted.

use std::sync::Arc;

use chrono::Duration;
use grantd_guard::{ApiKeyError, AuthenticateError, Claims, Guard, Scopes};
use serde_json::{Value, json};

use crate::harness::{Database, NewClient, PASSWORD, TestServer, eventually, on_both_engines};

on_both_engines!(
    a_key_is_accepted_with_its_scopes,
    a_lost_scope_is_gone_within_30_seconds,
    a_key_for_another_service_is_refused,
    a_deleted_key_is_refused,
    a_key_of_a_disabled_user_is_refused_until_the_user_is_enabled,
    a_typo_is_refused_without_the_issuer,
);

const ITEMS: &str = "https://items.example";

const SERVICE: NewClient = NewClient {
    id: "items",
    confidential: true,
    grants: &["client_credentials"],
    scopes: "account",
    audiences: &[ITEMS],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

/// Returns the guard of the service, with the clock of the test.
async fn guard(server: &TestServer, client: NewClient) -> Guard {
    let (id, clock) = (client.id, server.clock.clone());
    let secret = server.create_client(client).await;
    Guard::from_issuer(server.url())
        .audience(ITEMS)
        .clock(move || clock.now().timestamp())
        .follow_revocations(id, secret)
        .accept_api_keys()
        .build()
        .unwrap()
}

/// Creates a key for the user of a token.
async fn create(server: &TestServer, token: &str, scopes: &[&str], audiences: &[&str]) -> Value {
    let body = json!({"name": "a script", "scopes": scopes, "audiences": audiences});
    server.request("POST", "/users/me/api-keys").bearer(token).json(&body).send().await.json_with(201)
}

async fn verdict(guard: &Guard, key: &Value) -> Result<Arc<Claims>, AuthenticateError> {
    guard.authenticate(key["key"].as_str().unwrap()).await
}

async fn is_refused(guard: &Guard, key: &Value) -> bool {
    verdict(guard, key).await == Err(ApiKeyError::Refused.into())
}

async fn a_key_is_accepted_with_its_scopes(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &["admin"]).await;
    let guard = guard(&server, SERVICE).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, &["account", "users:read"], &[ITEMS]).await;
    let claims = verdict(&guard, &key).await.unwrap();
    let now = server.clock.now().timestamp();
    let expected = json!({
        "iss": server.url(), "sub": maria.id.to_string(), "username": "maria", "scope": "account users:read",
        "aud": ITEMS, "iat": now, "exp": Claims::NO_EXPIRY, "jti": key["id"], "client_id": key["id"],
    });
    assert_eq!(serde_json::to_value(&*claims).unwrap(), expected);
    assert!(claims.is_api_key());
}

async fn a_lost_scope_is_gone_within_30_seconds(database: Database) {
    let server = TestServer::start(database).await;
    server.put_role("reader", "users:read").await;
    let maria = server.create_user("maria", &["member", "reader"]).await;
    let guard = guard(&server, SERVICE).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, &["account", "users:read"], &[ITEMS]).await;
    assert!(verdict(&guard, &key).await.unwrap().scope.contains("users:read"));
    let (path, admin) = (format!("/admin/users/{}/roles", maria.id), server.admin().await);
    let answer = server.request("PUT", &path).bearer(&admin).json(&json!({"roles": ["member"]})).send().await;
    assert_eq!(answer.status, 200);
    server.advance(Duration::seconds(30));
    assert_eq!(verdict(&guard, &key).await.unwrap().scope, "account".parse::<Scopes>().unwrap());
}

async fn a_key_for_another_service_is_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    let own = create(&server, &token, &["account"], &["https://reports.example", ITEMS]).await;
    let other = create(&server, &token, &["account"], &["https://reports.example"]).await;
    let introspector = NewClient { id: "introspector", scopes: "tokens:introspect", audiences: &[], ..SERVICE };
    // A client that sees every key leaves the audience to the guard.
    for (client, error) in [(SERVICE, ApiKeyError::Refused), (introspector, ApiKeyError::WrongAudience)] {
        let guard = guard(&server, client).await;
        assert_eq!(verdict(&guard, &other).await, Err(error.into()));
        verdict(&guard, &own).await.unwrap();
    }
}

async fn a_deleted_key_is_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let guard = guard(&server, SERVICE).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, &["account"], &[ITEMS]).await;
    let other = create(&server, &token, &["account"], &[ITEMS]).await;
    for key in [&key, &other] {
        verdict(&guard, key).await.unwrap();
    }
    let path = format!("/users/me/api-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(server.request("DELETE", &path).bearer(&token).send().await.status, 204);
    // The clock stands still: a cached verdict would count for ever.
    eventually("the guard refuses the key", async || is_refused(&guard, &key).await).await;
    verdict(&guard, &other).await.unwrap();
}

async fn a_key_of_a_disabled_user_is_refused_until_the_user_is_enabled(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    let guard = guard(&server, SERVICE).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, &["account"], &[ITEMS]).await;
    verdict(&guard, &key).await.unwrap();
    server.set_disabled(&maria, true).await;
    eventually("the guard refuses the key", async || is_refused(&guard, &key).await).await;
    server.set_disabled(&maria, false).await;
    server.advance(Duration::seconds(5));
    eventually("the guard accepts the key", async || verdict(&guard, &key).await.is_ok()).await;
}

async fn a_typo_is_refused_without_the_issuer(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let guard = guard(&server, SERVICE).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, &["account"], &[ITEMS]).await;
    server.stop();
    let text = key["key"].as_str().unwrap();
    let last = if text.ends_with('0') { '1' } else { '0' };
    let typo = format!("{}{last}", &text[..text.len() - 1]);
    assert_eq!(guard.authenticate(&typo).await, Err(ApiKeyError::Malformed.into()));
    // It would need the issuer.
    assert!(matches!(verdict(&guard, &key).await, Err(AuthenticateError::Unavailable { .. })));
}
