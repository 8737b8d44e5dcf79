//! `GET /verify`: forward authentication for proxies.

use crate::{
    harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(valid_tokens_are_accepted, invalid_requests_are_refused, another_audience_can_be_required);

const HEADERS: [&str; 5] = ["x-auth-subject", "x-auth-username", "x-auth-client", "x-auth-scope", "x-auth-session"];

async fn valid_tokens_are_accepted(database: Database) {
    let server = TestServer::start(database).await;
    let user = server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    for path in ["/verify", "/verify?scope=", "/verify?scope=account", "/verify?other=x"] {
        let answer = server.get(path).bearer(&token).send().await;
        assert_eq!((answer.status, answer.body.len(), answer.header("cache-control")), (204, 0, "no-store"), "{path}");
        let session = claims(&token)["sid"].as_str().unwrap().to_owned();
        let id = user.id.to_string();
        assert_eq!(HEADERS.map(|name| answer.header(name)), [&*id, "maria", "default", "account", &*session]);
    }
    // The token of a client has no username and no session.
    let machine = NewClient { id: "machine", grants: &["client_credentials"], ..NewClient::default() };
    let secret = server.create_client(machine).await;
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let body = server.token(&form).basic("machine", &secret).send().await.json_with(200);
    let answer = server.get("/verify").bearer(body["access_token"].as_str().unwrap()).send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(HEADERS.map(|name| answer.header(name)), ["machine", "", "machine", "account", ""]);
}

async fn invalid_requests_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    let none = server.get("/verify").send().await;
    none.problem(401, "unauthorized");
    assert_eq!(none.headers_named("www-authenticate")[0], "Bearer realm=\"grantd\"");
    server.get("/verify").bearer("a.b.c").send().await.problem(401, "invalid-token");
    let lacks = server.get("/verify?scope=account%20users:read").bearer(&token).send().await;
    lacks.problem(403, "insufficient-scope");
    assert!(lacks.header("www-authenticate").contains("scope=\"account users:read\""));
    for path in ["/verify?scope=a%22b", "/verify?scope=a&scope=b", "/verify?audience=a&audience=b", "/verify?scope=%00"]
    {
        server.get(path).bearer(&token).send().await.problem(422, "validation");
        // Without a token, the query is not validated.
        server.get(path).send().await.problem(401, "unauthorized");
    }
    let twice = server.get("/verify?access_token=x").bearer(&token).send().await;
    twice.problem(400, "invalid-request");
    server.request("POST", "/verify").send().await.problem(405, "method-not-allowed");
}

async fn another_audience_can_be_required(database: Database) {
    let server = TestServer::start(database).await;
    let audiences: &[&str] = &["https://items.example"];
    server.create_client(NewClient { id: "shop", confidential: false, audiences, ..NewClient::default() }).await;
    let body = server.token(&Form::admin().and("client_id", "shop")).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    server.get("/verify").bearer(token).send().await.problem(401, "invalid-token");
    assert_eq!(server.get("/verify?audience=https://items.example").bearer(token).send().await.status, 204);
    server.get("/verify?audience=https://else.example").bearer(token).send().await.problem(401, "invalid-token");
    // The result for one audience is not used for another.
    server.get("/verify").bearer(token).send().await.problem(401, "invalid-token");
}
