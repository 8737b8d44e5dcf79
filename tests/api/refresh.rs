//! `POST /token` with the grant `refresh_token`: rotation, retries after a lost response, and reuse detection.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Database, Form, NewClient, PASSWORD, TestServer, beginning, on_both_engines},
    token::claims,
};

on_both_engines!(
    each_use_rotates_the_token,
    a_refresh_can_be_retried_within_the_leeway,
    a_confidential_client_can_retry_until_the_next_token_is_used,
    reuse_ends_the_session,
    the_scope_can_be_narrowed_and_is_recomputed,
    the_audience_can_be_narrowed,
    a_token_belongs_to_its_client,
    tokens_of_ended_sessions_are_not_reported_as_reused,
    sessions_expire,
    invalid_refresh_tokens_are_refused,
    concurrent_refreshes_rotate_once,
    changes_on_another_server_take_effect_immediately,
    removed_scopes_are_in_no_concurrent_response,
);

fn refresh(token: &str) -> Form {
    Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

fn refresh_token(body: &Value) -> String {
    body["refresh_token"].as_str().unwrap().to_owned()
}

/// A server with the user maria, and her first refresh token from the client `default`.
async fn logged_in(database: Database) -> (TestServer, String) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let body = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    (server, refresh_token(&body))
}

async fn refreshed(server: &TestServer, token: &str) -> Value {
    server.token(&refresh(token)).send().await.json_with(200)
}

async fn is_refused(server: &TestServer, token: &str) {
    let answer: Answer = server.token(&refresh(token)).send().await;
    answer.oauth_error(400, "invalid_grant");
}

async fn reuses(server: &TestServer) -> i64 {
    server.database().number("SELECT count(*) FROM audit_events WHERE kind = 'refresh_token.reused'").await
}

async fn each_use_rotates_the_token(database: Database) {
    let (server, first) = logged_in(database).await;
    let rows = server.database().row_counts().await;
    let mut token = first.clone();
    for use_number in 1..=5 {
        server.advance(Duration::minutes(10));
        let body = refreshed(&server, &token).await;
        let next = refresh_token(&body);
        assert_ne!(next, token);
        let of_token = claims(body["access_token"].as_str().unwrap());
        assert_eq!(of_token["auth_time"], beginning().timestamp());
        assert_eq!(of_token["iat"], beginning().timestamp() + use_number * 600);
        assert_eq!((&of_token["username"], &body["scope"]), (&json!("maria"), &json!("account")));
        token = next;
    }
    assert_eq!(server.database().row_counts().await, rows, "no table grows with the number of refreshes");
    assert_eq!(server.database().number("SELECT counter FROM sessions").await, 5);
    let metadata = server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!("refresh_token")));
}

async fn a_refresh_can_be_retried_within_the_leeway(database: Database) {
    let (server, first) = logged_in(database).await;
    let second = refresh_token(&refreshed(&server, &first).await);
    for _ in 0..3 {
        server.advance(Duration::seconds(9));
        assert_eq!(refresh_token(&refreshed(&server, &first).await), second, "the same token");
    }
    // The leeway counts from the rotation; a retry does not renew it.
    server.advance(Duration::seconds(3));
    is_refused(&server, &first).await;
    assert_eq!(reuses(&server).await, 1);
    is_refused(&server, &second).await;
    assert_eq!(reuses(&server).await, 1, "a session ends once");
}

async fn a_confidential_client_can_retry_until_the_next_token_is_used(database: Database) {
    let server = TestServer::start(database).await;
    let secret = server.create_client(NewClient::default()).await;
    let ask = async |form: Form| server.token(&form).basic("back-office", &secret).send().await;
    let first = refresh_token(&ask(Form::admin()).await.json_with(200));
    let second = refresh_token(&ask(refresh(&first)).await.json_with(200));
    server.advance(Duration::days(3));
    assert_eq!(refresh_token(&ask(refresh(&first)).await.json_with(200)), second);
    let third = refresh_token(&ask(refresh(&second)).await.json_with(200));
    assert_eq!(refresh_token(&ask(refresh(&second)).await.json_with(200)), third);
    ask(refresh(&first)).await.oauth_error(400, "invalid_grant");
    ask(refresh(&third)).await.oauth_error(400, "invalid_grant");
    assert_eq!(reuses(&server).await, 1);
}

async fn reuse_ends_the_session(database: Database) {
    let (server, first) = logged_in(database).await;
    let other = refresh_token(&server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200));
    let second = refresh_token(&refreshed(&server, &first).await);
    let third = refresh_token(&refreshed(&server, &second).await);
    is_refused(&server, &first).await;
    for token in [&first, &second, &third] {
        is_refused(&server, token).await;
    }
    assert_eq!(reuses(&server).await, 1);
    // Another session of the same user is not affected.
    refreshed(&server, &other).await;
}

async fn the_scope_can_be_narrowed_and_is_recomputed(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read", "items:write"]).await;
    server.put_role("shop", "items:read items:write").await;
    let user = server.create_user("maria", &["shop"]).await;
    let asked = Form::password("maria", PASSWORD).and("scope", "account items:read");
    let first = refresh_token(&server.token(&asked).send().await.json_with(200));

    let narrow = refresh(&first).and("scope", "items:read");
    let body = server.token(&narrow).send().await.json_with(200);
    assert_eq!(body["scope"], "items:read");
    let second = refresh_token(&body);
    let body = refreshed(&server, &second).await;
    assert_eq!(body["scope"], "account items:read", "the refresh token was not narrowed");
    let third = refresh_token(&body);
    // A scope that was not requested at the login, or that the user has lost: refused, and the token is not rotated.
    let more = refresh(&third).and("scope", "items:read items:write");
    server.token(&more).send().await.oauth_error(400, "invalid_scope");
    server.set_roles(&user, &[]).await;
    let gone = refresh(&third).and("scope", "items:read");
    server.token(&gone).send().await.oauth_error(400, "invalid_scope");
    let body = refreshed(&server, &third).await;
    assert_eq!(body["scope"], "account");
    assert_eq!(claims(body["access_token"].as_str().unwrap())["roles"], json!(["member"]));
}

async fn the_audience_can_be_narrowed(database: Database) {
    let server = TestServer::start(database).await;
    let audiences = &["https://a.example", "https://b.example", "https://c.example"];
    server.create_client(NewClient { id: "app", confidential: false, audiences, ..NewClient::default() }).await;
    let app = |form: Form| form.and("client_id", "app");
    let login = app(Form::admin()).and("resource", "https://a.example").and("resource", "https://b.example");
    let first = refresh_token(&server.token(&login).send().await.json_with(200));
    let other = app(refresh(&first)).and("resource", "https://c.example");
    server.token(&other).send().await.oauth_error(400, "invalid_target");
    let one = app(refresh(&first)).and("resource", "https://b.example");
    let body = server.token(&one).send().await.json_with(200);
    assert_eq!(claims(body["access_token"].as_str().unwrap())["aud"], "https://b.example");
    let body = server.token(&app(refresh(&refresh_token(&body)))).send().await.json_with(200);
    assert_eq!(
        claims(body["access_token"].as_str().unwrap())["aud"],
        json!(["https://a.example", "https://b.example"])
    );
}

async fn a_token_belongs_to_its_client(database: Database) {
    let (server, first) = logged_in(database).await;
    let secret = server.create_client(NewClient::default()).await;
    let id_only = NewClient { id: "no-refresh", confidential: false, grants: &["password"], ..NewClient::default() };
    server.create_client(id_only).await;
    let other = server.token(&refresh(&first)).basic("back-office", &secret).send().await;
    other.oauth_error(400, "invalid_grant");
    let form = refresh(&first).and("client_id", "no-refresh");
    server.token(&form).send().await.oauth_error(400, "unauthorized_client");
    refreshed(&server, &first).await;
    assert_eq!(reuses(&server).await, 0);
    server.set_client_disabled("default", true).await;
    server.token(&refresh(&first)).send().await.oauth_error(401, "invalid_client");
}

async fn tokens_of_ended_sessions_are_not_reported_as_reused(database: Database) {
    let (server, first) = logged_in(database).await;
    let user = server
        .within(async |app, _| grantd::users::find(&mut app.store.read().await.unwrap(), "maria").await.unwrap())
        .await;
    let second = refresh_token(&refreshed(&server, &first).await);
    server.set_password(&user, "another password").await;
    is_refused(&server, &first).await;
    is_refused(&server, &second).await;
    let login = server.token(&Form::password("maria", "another password")).send().await.json_with(200);
    let third = refresh_token(&login);
    server.set_disabled(&user, true).await;
    is_refused(&server, &third).await;
    // Enabling does not restore sessions.
    server.set_disabled(&user, false).await;
    is_refused(&server, &third).await;
    assert_eq!(reuses(&server).await, 0);
}

async fn sessions_expire(database: Database) {
    let (server, first) = logged_in(database).await;
    server.advance(Duration::days(30) - Duration::seconds(1));
    let mut token = refresh_token(&refreshed(&server, &first).await);
    for _ in 0..2 {
        server.advance(Duration::days(29));
        token = refresh_token(&refreshed(&server, &token).await);
    }
    // After 88 days: each use has moved the idle expiry, but not the end of the maximum lifetime.
    server.advance(Duration::days(2) + Duration::seconds(1));
    is_refused(&server, &token).await;
    let login = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    server.advance(Duration::days(30));
    is_refused(&server, &refresh_token(&login)).await;
    assert_eq!(reuses(&server).await, 0);
}

async fn invalid_refresh_tokens_are_refused(database: Database) {
    let (server, first) = logged_in(database).await;
    let access = server.login("maria", PASSWORD).await;
    let typo = format!("{}{}", &first[..40], &first[41..]);
    for token in [&access, &typo, "grt_", "x", &first.to_uppercase(), &format!("{first} ")] {
        is_refused(&server, token).await;
    }
    for (form, error) in [
        (Form::of(&[("grant_type", "refresh_token")]), "invalid_request"),
        (refresh(&first).and("refresh_token", &first), "invalid_request"),
        (refresh(""), "invalid_request"),
    ] {
        server.token(&form).send().await.oauth_error(400, error);
    }
    // After a restored backup, the counter is lower: refused, but not reported as reuse.
    let second = refresh_token(&refreshed(&server, &first).await);
    server.database().execute("UPDATE sessions SET counter = 0").await.unwrap();
    is_refused(&server, &second).await;
    assert_eq!(reuses(&server).await, 0);
    refreshed(&server, &first).await;
}

async fn concurrent_refreshes_rotate_once(database: Database) {
    let issuer = ["--issuer", "https://id.example"];
    let server = TestServer::with(database, &issuer).await;
    let replica = TestServer::on(server.database().url(), &issuer, server.clock.clone()).await.unwrap();
    server.create_user("maria", &[]).await;
    let login = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let mut token = refresh_token(&login);
    for round in 1..=8 {
        let form = refresh(&token);
        let ask = async |number: usize| {
            let of = if number.is_multiple_of(2) { &server } else { &replica };
            refresh_token(&of.token(&form).send().await.json_with(200))
        };
        let answers = futures_util::future::join_all((0..16).map(ask)).await;
        assert!(answers.iter().all(|answer| *answer == answers[0] && *answer != token), "{answers:?}");
        assert_eq!(server.database().number("SELECT counter FROM sessions").await, round);
        token.clone_from(&answers[0]);
    }
    assert_eq!(reuses(&server).await, 0);
}

/// A model of the rotation of one session.
#[derive(Default)]
struct Model {
    counter: usize,
    rotated_at: i64,
    ended: bool,
}

impl Model {
    /// Returns the number of the token in the response. `None`: the request is refused.
    fn present(&mut self, number: usize, now: i64) -> Option<usize> {
        if self.ended {
            return None;
        }
        if number == self.counter {
            self.counter += 1;
            self.rotated_at = now;
        } else if number + 1 != self.counter || now >= self.rotated_at + 30 {
            self.ended = true;
            return None;
        }
        Some(self.counter)
    }
}

#[actix_web::test]
async fn random_sequences_of_uses_match_the_model() {
    use proptest::strategy::{Strategy as _, ValueTree as _};

    let (server, _) = logged_in(Database::sqlite()).await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    // How many tokens back, and how many seconds later.
    let steps = proptest::collection::vec((0..3_usize, 0..25_i64), 1..12);
    for _ in 0..40 {
        let login = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
        let (mut model, mut tokens, mut now) = (Model::default(), vec![refresh_token(&login)], 0);
        for (back, seconds) in steps.new_tree(&mut runner).unwrap().current() {
            server.advance(Duration::seconds(seconds));
            now += seconds;
            let number = (tokens.len() - 1).saturating_sub(back);
            let answer = server.token(&refresh(&tokens[number])).send().await;
            match model.present(number, now) {
                Some(next) => {
                    let received = refresh_token(&answer.json_with(200));
                    match tokens.get(next) {
                        Some(known) => assert_eq!(received, *known),
                        None => tokens.push(received),
                    }
                }
                None => drop(answer.oauth_error(400, "invalid_grant")),
            }
        }
    }
}

/// A refresh never uses data of the session, its user or its client that is older than the request.
async fn changes_on_another_server_take_effect_immediately(database: Database) {
    let server = TestServer::start(database).await;
    let other = TestServer::on(server.database().url(), &[], server.clock.clone()).await.unwrap();
    server.create_scopes(&["items:read", "items:write"]).await;
    server.put_role("clerk", "items:read").await;
    let maria = server.create_user("maria", &["clerk"]).await;
    server
        .create_client(NewClient {
            id: "app",
            confidential: false,
            scopes: "account items:read items:write",
            ..NewClient::default()
        })
        .await;
    let of_app = |form: Form| form.and("client_id", "app");
    let body = server.token(&of_app(Form::password("maria", PASSWORD))).send().await.json_with(200);
    let mut token = refresh_token(&body);
    let mut scope_now = async |expected: &str| {
        let body = server.token(&of_app(refresh(&token))).send().await.json_with(200);
        assert_eq!(body["scope"], expected);
        token = refresh_token(&body);
    };
    for _ in 0..3 {
        scope_now("account items:read").await;
        other.put_role("clerk", "items:read items:write").await;
        scope_now("account items:read items:write").await;
        other.set_roles(&maria, &[]).await;
        scope_now("account").await;
        other.put_role("clerk", "items:read").await;
        other.set_roles(&maria, &["clerk"]).await;
    }
    other.set_client_disabled("app", true).await;
    server.token(&of_app(refresh(&token))).send().await.oauth_error(401, "invalid_client");
}

/// Concurrent requests share statements, but never results from before their start.
async fn removed_scopes_are_in_no_concurrent_response(database: Database) {
    let server = TestServer::start(database).await;
    let other = TestServer::on(server.database().url(), &[], server.clock.clone()).await.unwrap();
    server.create_scopes(&["items:read"]).await;
    server.put_role("clerk", "items:read").await;
    let maria = server.create_user("maria", &[]).await;
    for _ in 0..10 {
        other.set_roles(&maria, &["clerk"]).await;
        let body = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
        let token = refresh_token(&refreshed(&server, &refresh_token(&body)).await);
        other.set_roles(&maria, &[]).await;
        let (server, token) = (&server, token.as_str());
        let asked = (0..30).map(async |_| refreshed(server, token).await["scope"].clone());
        for scope in futures_util::future::join_all(asked).await {
            assert_eq!(scope, "account");
        }
    }
}
