//! Audit events of the client credentials grant, and of failed client authentication.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    audit::page,
    harness::{Admin, Database, Form, NewClient, Request, TestServer, eventually, on_both_engines},
};

on_both_engines!(
    the_first_failure_of_a_series_is_recorded,
    concurrent_failures_are_recorded_once,
    client_credentials_logins_are_recorded,
);

const MACHINE: NewClient = NewClient {
    id: "machine",
    confidential: true,
    grants: &["client_credentials"],
    scopes: "account",
    audiences: &[],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

async fn start(database: Database) -> Admin {
    let server = TestServer::with(database, &["--trusted-proxies", "127.0.0.1/32"]).await;
    let token = server.admin().await;
    Admin { server, token }
}

fn credentials() -> Form {
    Form::of(&[("grant_type", "client_credentials")])
}

/// Adds the header of a proxy.
fn from(address: &str, request: Request) -> Request {
    request.header("X-Forwarded-For", address)
}

/// Returns client and address of each failure, oldest first.
async fn failures(admin: &Admin) -> Vec<(String, String)> {
    // A new token, since tests advance the clock by hours.
    let token = admin.server.admin().await;
    let all = page(&admin.server, &token, "limit=200").await;
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let events = all["items"].as_array().unwrap().iter().filter(|event| event["kind"] == "client.failed");
    let found: Vec<_> = events
        .rev()
        .map(|event| {
            assert_eq!(event["outcome"], "failure", "{event}");
            assert!(!event.to_string().contains("grs_"), "{event}");
            (text(event, "client_id"), text(event, "address"))
        })
        .collect();
    if !found.is_empty() {
        let filtered = page(&admin.server, &token, "limit=200&kind=client.failed").await;
        assert_eq!(filtered["items"].as_array().unwrap().len(), found.len());
    }
    found
}

/// Waits for the events: they are recorded after the response.
async fn expect_failures(admin: &Admin, expected: &[(String, String)]) {
    eventually("the failure is recorded", async || failures(admin).await.len() >= expected.len()).await;
    assert_eq!(failures(admin).await, expected);
}

async fn the_first_failure_of_a_series_is_recorded(database: Database) {
    let admin = start(database).await;
    let server = &admin.server;
    let secret = server.create_client(NewClient::default()).await;
    server.create_client(MACHINE).await;
    let one = "203.0.113.7";
    let pair = |client: &str, address: &str| (client.to_owned(), address.to_owned());
    assert_eq!(failures(&admin).await, []);
    let login = || server.token(&Form::admin());
    from(one, login().basic("back-office", "grs_wrong")).send().await.oauth_error(401, "invalid_client");
    let mut expected = vec![pair("back-office", one)];
    expect_failures(&admin, &expected).await;
    // More failures within the hour, by other methods and at other endpoints.
    server.advance(Duration::minutes(1));
    let post = Form::admin().and("client_id", "back-office").and("client_secret", "grs_wrong_too");
    let token = Form::of(&[("token", "x")]);
    for request in [
        login().basic("back-office", "grs_wrong"),
        server.token(&post),
        server.request("POST", "/introspect").form(&token).basic("back-office", "grs_wrong"),
        server.request("POST", "/revoke").form(&token).basic("back-office", "grs_wrong"),
    ] {
        from(one, request).send().await.oauth_error(401, "invalid_client");
    }
    server.advance(Duration::minutes(30));
    from(one, login().basic("back-office", "grs_wrong")).send().await.oauth_error(401, "invalid_client");
    // A success does not end the series.
    from(one, login().basic("back-office", &secret)).send().await.json_with(200);
    from(one, login().basic("back-office", "grs_wrong")).send().await.oauth_error(401, "invalid_client");
    expect_failures(&admin, &expected).await;
    // Each client has a series of its own.
    server.advance(Duration::seconds(1));
    from(one, server.token(&credentials()).basic("machine", "grs_wrong"))
        .send()
        .await
        .oauth_error(401, "invalid_client");
    expected.push(pair("machine", one));
    expect_failures(&admin, &expected).await;
    // A failure hours later begins a new series.
    server.advance(Duration::hours(2));
    from(one, login().basic("back-office", "grs_wrong")).send().await.oauth_error(401, "invalid_client");
    expected.push(pair("back-office", one));
    expect_failures(&admin, &expected).await;
}

async fn concurrent_failures_are_recorded_once(database: Database) {
    let admin = start(database).await;
    admin.server.create_client(MACHINE).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = admin.server.token(&credentials()).basic("machine", "grs_wrong");
        requests.spawn(from("203.0.113.7", request).send());
    }
    for answer in requests.join_all().await {
        answer.oauth_error(401, "invalid_client");
    }
    expect_failures(&admin, &[("machine".to_owned(), "203.0.113.7".to_owned())]).await;
}

async fn client_credentials_logins_are_recorded(database: Database) {
    let admin = start(database).await;
    let server = &admin.server;
    let secret = server.create_client(MACHINE).await;
    let events = async || page(server, &admin.token, "limit=200&subject=machine&kind=login").await["items"].clone();
    assert_eq!(events().await, json!([]));
    server.advance(Duration::seconds(1));
    let request = server.token(&credentials()).basic("machine", &secret).header("X-Request-Id", "alone");
    from("203.0.113.7", request).send().await.json_with(200);
    let mut found = events().await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let id = found[0].as_object_mut().and_then(|event| event.remove("id"));
    assert!(id.is_some_and(|id| id.as_str().is_some_and(|id| id.len() == 36)), "{found}");
    let expected = json!({
        "at": "2026-01-31T12:00:01Z", "kind": "login", "actor": "machine", "subject": "machine", "client_id": "machine",
        "address": "203.0.113.7", "outcome": "success", "details": {"grant": "client_credentials"}, "request_id": "alone",
    });
    assert_eq!(found, json!([expected]));
    // Refused requests are not recorded as logins.
    for form in [credentials().and("scope", "users:read"), credentials().and("resource", "https://elsewhere.example")] {
        assert_eq!(server.token(&form).basic("machine", &secret).send().await.status, 400);
    }
    assert_eq!(events().await.as_array().unwrap().len(), 1);
}
