//! `POST /revoke`: revocation of tokens and their sessions (RFC 7009).

use chrono::Duration;
use serde_json::json;

use crate::{
    harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(
    access_and_refresh_tokens_end_the_session,
    tokens_of_client_credentials_are_revoked_one_by_one,
    unknown_tokens_are_no_error,
    only_the_client_of_a_token_can_revoke_it,
    the_form_and_the_client_are_checked,
);

struct Tokens {
    access: String,
    refresh: String,
}

async fn login(server: &TestServer) -> Tokens {
    let body = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Tokens { access: text("access_token"), refresh: text("refresh_token") }
}

fn form(token: &str) -> Form {
    Form::of(&[("token", token)])
}

async fn revoke(server: &TestServer, token: &str) {
    let answer = server.request("POST", "/revoke").form(&form(token)).send().await;
    assert_eq!((answer.status, answer.body.len(), answer.header("cache-control")), (200, 0, "no-store"));
}

async fn is_over(server: &TestServer, tokens: &Tokens) {
    let refused = server.get("/users/me").bearer(&tokens.access).send().await;
    refused.problem(401, "invalid-token");
    assert!(refused.header("www-authenticate").contains("revoked"), "{}", refused.header("www-authenticate"));
    let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)]);
    server.token(&form).send().await.oauth_error(400, "invalid_grant");
}

async fn access_and_refresh_tokens_end_the_session(database: Database) {
    let server = TestServer::start(database).await;
    let user = server.create_user("maria", &[]).await;
    let kept = login(&server).await;
    for by_refresh_token in [true, false] {
        let tokens = login(&server).await;
        assert_eq!(server.get("/users/me").bearer(&tokens.access).send().await.status, 200);
        revoke(&server, if by_refresh_token { &tokens.refresh } else { &tokens.access }).await;
        is_over(&server, &tokens).await;
        // Repeating it changes nothing, and is not reported as reuse.
        revoke(&server, &tokens.refresh).await;
        revoke(&server, &tokens.access).await;
    }
    let events = "SELECT count(*) FROM audit_events WHERE kind =";
    assert_eq!(server.database().number(&format!("{events} 'session.ended' AND subject = '{}'", user.id)).await, 2);
    assert_eq!(server.database().number(&format!("{events} 'refresh_token.reused'")).await, 0);
    assert_eq!(server.get("/users/me").bearer(&kept.access).send().await.status, 200);
    // A rotated refresh token still identifies its session.
    let refreshed = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &kept.refresh)]);
    server.token(&refreshed).send().await.json_with(200);
    revoke(&server, &kept.refresh).await;
    is_over(&server, &kept).await;
}

async fn tokens_of_client_credentials_are_revoked_one_by_one(database: Database) {
    let server = TestServer::start(database).await;
    let machine = NewClient { id: "machine", grants: &["client_credentials"], ..NewClient::default() };
    let secret = server.create_client(machine).await;
    let token = async || {
        let form = Form::of(&[("grant_type", "client_credentials")]);
        let body = server.token(&form).basic("machine", &secret).send().await.json_with(200);
        body["access_token"].as_str().unwrap().to_owned()
    };
    let (one, other) = (token().await, token().await);
    let answer = server.request("POST", "/revoke").form(&form(&one)).basic("machine", &secret).send().await;
    assert_eq!(answer.status, 200);
    server.get("/verify").bearer(&one).send().await.problem(401, "invalid-token");
    assert_eq!(server.get("/verify").bearer(&other).send().await.status, 204);
    let details = server.database().text("SELECT details FROM audit_events WHERE kind = 'token.revoked'").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&details).unwrap(), json!({"jti": claims(&one)["jti"]}));
}

async fn unknown_tokens_are_no_error(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let tokens = login(&server).await;
    let other = if tokens.refresh.ends_with('x') { 'y' } else { 'x' };
    let typo = format!("{}{other}", &tokens.refresh[..tokens.refresh.len() - 1]);
    for token in ["x", "a.b.c", "grt_", "grs_x", &typo, &format!("{}x", tokens.access)] {
        revoke(&server, token).await;
    }
    assert_eq!(server.get("/users/me").bearer(&tokens.access).send().await.status, 200);
    server.advance(Duration::minutes(15));
    // The signature of an expired access token is not checked, so its session continues.
    revoke(&server, &tokens.access).await;
    let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)]);
    server.token(&form).send().await.json_with(200);
}

async fn only_the_client_of_a_token_can_revoke_it(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let secret = server.create_client(NewClient::default()).await;
    let tokens = login(&server).await;
    for token in [&tokens.access, &tokens.refresh] {
        let other = server.request("POST", "/revoke").form(&form(token)).basic("back-office", &secret).send().await;
        other.oauth_error(400, "invalid_grant");
    }
    assert_eq!(server.get("/users/me").bearer(&tokens.access).send().await.status, 200);
}

async fn the_form_and_the_client_are_checked(database: Database) {
    let server = TestServer::start(database).await;
    let post = |form: &Form| server.request("POST", "/revoke").form(form);
    post(&Form::of(&[])).send().await.oauth_error(400, "invalid_request");
    post(&form("x").and("token", "y")).send().await.oauth_error(400, "invalid_request");
    let nobody = post(&form("x").and("client_id", "nobody")).send().await.oauth_error(401, "invalid_client");
    assert_eq!(nobody["error_description"], "the client is unknown or its credentials are wrong");
    // A request that names no client is the client `default`.
    server.set_client_disabled("default", true).await;
    let unnamed = post(&form("x")).send().await.oauth_error(401, "invalid_client");
    assert_eq!(unnamed["error_description"], "client authentication is required");
    server.set_client_disabled("default", false).await;
    let json = server.request("POST", "/revoke").body("application/json", "{}").send().await;
    json.oauth_error(400, "invalid_request");
    let large = server.request("POST", "/revoke").form(&form(&"x".repeat(17_000))).send().await;
    large.oauth_error(413, "invalid_request");
    server.get("/revoke").send().await.oauth_error(405, "invalid_request");
}
