//! Audit events of logins, refresh token reuse, revocations and key changes.

use chrono::Duration;
use grantd::audit::Origin;
use serde_json::{Value, json};

use crate::harness::{
    ADMIN_PASSWORD, Database, Form, MASTER_KEY, NewClient, PASSWORD, Request, TestServer, on_both_engines, rotate_keys,
};

on_both_engines!(
    login_events_have_actor_subject_client_and_address,
    reuse_revocations_and_key_changes_are_recorded,
    no_event_contains_a_secret,
);

pub(crate) const EVENTS: &str = "/admin/audit-events";

/// Returns a page of events.
pub(crate) async fn page(server: &TestServer, admin: &str, query: &str) -> Value {
    let answer = server.get(&format!("{EVENTS}?{query}")).bearer(admin).send().await;
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json_with(200)
}

/// Returns the newest event, without its id.
async fn newest(server: &TestServer, admin: &str, query: &str) -> Value {
    let mut event = page(server, admin, &format!("limit=1&{query}")).await["items"][0].clone();
    assert!(event["id"].as_str().is_some_and(|id| id.len() == 36), "{event}");
    event.as_object_mut().unwrap().remove("id");
    event
}

/// Adds the headers of a proxy.
fn from(request: Request, id: &str) -> Request {
    request.header("X-Forwarded-For", "203.0.113.7").header("X-Request-Id", id)
}

async fn login_events_have_actor_subject_client_and_address(database: Database) {
    let server = TestServer::with(database, &["--trusted-proxies", "127.0.0.1/32"]).await;
    let maria = server.create_user("maria", &[]).await;
    let gone = server.create_user("gone", &[]).await;
    server.set_disabled(&gone, true).await;
    let secret = server.create_client(NewClient::default()).await;
    let admin = server.admin().await;
    let attempt = async |user: &str, password: &str, id: &str| {
        server.advance(Duration::milliseconds(1500));
        let request = server.token(&Form::password(user, password)).basic("back-office", &secret);
        from(request, id).send().await
    };
    let event = |kind: &str, actor: Value, subject: Value, at: &str, id: &str, details: Value| {
        let outcome = if kind == "login" { "success" } else { "failure" };
        json!({
            "at": at, "kind": kind, "actor": actor, "subject": subject, "client_id": "back-office",
            "address": "203.0.113.7", "outcome": outcome, "details": details, "request_id": id,
        })
    };
    let newest = async || newest(&server, &admin, "").await;

    let body = attempt("maria", PASSWORD, "good").await.json_with(200);
    let session = &crate::token::claims(body["access_token"].as_str().unwrap())["sid"];
    let expected = event(
        "login",
        json!(maria.id),
        json!(maria.id),
        "2026-01-31T12:00:01.500Z",
        "good",
        json!({"session": session}),
    );
    assert_eq!(newest().await, expected);

    attempt("maria", "a wrong password", "bad").await.oauth_error(400, "invalid_grant");
    let reason = |reason: &str| json!({"reason": reason});
    let at = "2026-01-31T12:00:03Z";
    let expected = event("login.failed", Value::Null, json!(maria.id), at, "bad", reason("wrong_password"));
    assert_eq!(newest().await, expected);

    attempt("nobody", PASSWORD, "unknown").await.oauth_error(400, "invalid_grant");
    let at = "2026-01-31T12:00:04.500Z";
    assert_eq!(newest().await, event("login.failed", Value::Null, Value::Null, at, "unknown", reason("unknown_user")));

    attempt("gone", PASSWORD, "disabled").await.oauth_error(400, "invalid_grant");
    let at = "2026-01-31T12:00:06Z";
    let expected = event("login.failed", Value::Null, json!(gone.id), at, "disabled", reason("account_disabled"));
    assert_eq!(newest().await, expected);
}

async fn reuse_revocations_and_key_changes_are_recorded(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    let secret = server.create_client(NewClient::default()).await;
    let machine = NewClient { id: "machine", grants: &["client_credentials"], ..NewClient::default() };
    let machine_secret = server.create_client(machine).await;
    let admin = server.admin().await;
    let post = |path: &str, form: &Form| server.request("POST", path).form(form).basic("back-office", &secret);
    let login = async || {
        server.advance(Duration::seconds(1));
        let body = post("/token", &Form::password("maria", PASSWORD)).send().await.json_with(200);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let session = crate::token::claims(&text("access_token"))["sid"].clone();
        server.advance(Duration::seconds(1));
        (text("refresh_token"), session)
    };
    let is =
        async |kind: &str, outcome: &str, actor: Value, subject: &Value, client: &str, id: &str, details: Value| {
            let mut event = newest(&server, &admin, "").await;
            event.as_object_mut().unwrap().remove("at");
            assert_eq!(
                event,
                json!({
                    "kind": kind, "outcome": outcome, "actor": actor, "subject": subject, "client_id": client,
                    "address": "127.0.0.1", "details": details, "request_id": id,
                })
            );
        };

    let (first, session) = login().await;
    let refresh = |token: &str| Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let next = post("/token", &refresh(&first)).send().await.json_with(200);
    post("/token", &refresh(next["refresh_token"].as_str().unwrap())).send().await.json_with(200);
    post("/token", &refresh(&first)).header("X-Request-Id", "theft").send().await.oauth_error(400, "invalid_grant");
    let id = json!(maria.id);
    let details = json!({"session": session});
    is("refresh_token.reused", "failure", id.clone(), &id, "back-office", "theft", details).await;

    let (token, session) = login().await;
    let form = Form::of(&[("token", &token)]);
    assert_eq!(post("/revoke", &form).header("X-Request-Id", "logout").send().await.status, 200);
    is("session.ended", "success", id.clone(), &id, "back-office", "logout", json!({"session": session})).await;

    let form = Form::of(&[("grant_type", "client_credentials")]);
    let body = server.token(&form).basic("machine", &machine_secret).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    let revoke = server.request("POST", "/revoke").form(&Form::of(&[("token", token)]));
    server.advance(Duration::seconds(1));
    assert_eq!(revoke.basic("machine", &machine_secret).header("X-Request-Id", "jti").send().await.status, 200);
    let jti = json!({"jti": crate::token::claims(token)["jti"]});
    is("token.revoked", "success", json!("machine"), &json!("machine"), "machine", "jti", jti).await;

    server.advance(Duration::seconds(1));
    let administrator = crate::token::claims(&admin)["sub"].clone();
    let rotate = server.request("POST", "/admin/signing-keys").bearer(&admin).header("X-Request-Id", "rotate");
    let key = rotate.body("application/json", "{}").send().await.json_with(201);
    is("signing_key.created", "success", administrator.clone(), &key["kid"], "default", "rotate", json!({})).await;
    server.advance(Duration::seconds(1));
    let delete = server.request("DELETE", &format!("/admin/signing-keys/{}", key["kid"].as_str().unwrap()));
    assert_eq!(delete.bearer(&admin).header("X-Request-Id", "delete").send().await.status, 204);
    is("signing_key.deleted", "success", administrator, &key["kid"], "default", "delete", json!({})).await;

    // A change without an HTTP request has no actor, client, address or request id.
    server.advance(Duration::seconds(1));
    let origin = Origin::system();
    server.within(async move |app, now| rotate_keys(&app, None, false, &origin, now).await.unwrap()).await;
    let event = newest(&server, &admin, "kind=signing_key.created").await;
    for member in ["actor", "client_id", "address", "request_id"] {
        assert_eq!(event[member], Value::Null, "{event}");
    }
}

async fn no_event_contains_a_secret(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let secret = server.create_client(NewClient::default()).await;
    let post = |path: &str, form: &Form| server.request("POST", path).form(form).basic("back-office", &secret);
    let login = async |form: &Form| post("/token", form).send().await;
    let body = login(&Form::password("maria", PASSWORD)).await.json_with(200);
    let mut secrets = vec![ADMIN_PASSWORD.to_owned(), PASSWORD.to_owned(), secret.clone(), MASTER_KEY.to_owned()];
    let mut note = |body: &Value| {
        for name in ["access_token", "refresh_token", "client_secret"] {
            secrets.extend(body[name].as_str().map(str::to_owned));
        }
    };
    note(&body);
    // A password in the field of the username, and a wrong password.
    login(&Form::password("typed in the wrong field", PASSWORD)).await.oauth_error(400, "invalid_grant");
    login(&Form::password("maria", "typed in the right field")).await.oauth_error(400, "invalid_grant");
    let wrong = server.token(&Form::password("maria", PASSWORD)).basic("back-office", "grs_wrong").send().await;
    wrong.oauth_error(401, "invalid_client");
    let mut token = body["refresh_token"].as_str().unwrap().to_owned();
    let refresh = |token: &str| Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    for _ in 0..2 {
        let next = login(&refresh(&token)).await.json_with(200);
        note(&next);
        next["refresh_token"].as_str().unwrap().clone_into(&mut token);
    }
    login(&refresh(body["refresh_token"].as_str().unwrap())).await.oauth_error(400, "invalid_grant");
    let body = login(&Form::password("maria", PASSWORD)).await.json_with(200);
    note(&body);
    post("/revoke", &Form::of(&[("token", body["access_token"].as_str().unwrap())])).send().await;
    let admin = server.admin().await;
    note(&json!({"access_token": admin}));
    let as_admin = async |method: &str, path: &str, body: Value| {
        let request = server.request(method, path).bearer(&admin).body("application/json", body.to_string());
        request.send().await
    };
    note(&as_admin("POST", "/admin/clients/back-office/secret", json!({})).await.json_with(200));
    let new = json!({"username": "new", "password": "given by somebody else"});
    let new = as_admin("POST", "/admin/users", new).await.json_with(201);
    let path = format!("/admin/users/{}/password", new["id"].as_str().unwrap());
    assert_eq!(as_admin("PUT", &path, json!({"password": "given once more"})).await.status, 204);
    for (current, status) in [("not the present one", 422), (ADMIN_PASSWORD, 204)] {
        let body = json!({"current_password": current, "new_password": "chosen by themselves"});
        assert_eq!(as_admin("PUT", "/users/me/password", body).await.status, status);
    }
    let typed = [
        "typed in",
        "grs_wrong",
        "given by somebody else",
        "given once more",
        "not the present one",
        "chosen by themselves",
        "argon2",
    ];
    secrets.extend(typed.map(str::to_owned));

    let columns = ["kind", "outcome", "actor", "subject", "client_id", "address", "request_id", "details"];
    let columns = columns.map(|column| format!("coalesce({column}, '')")).join(" || ' ' || ");
    let rows = server.database().text(&format!("SELECT string_agg({columns}, '\n') FROM audit_events")).await;
    for kind in ["login", "login.failed", "refresh_token.reused", "session.ended", "user.password_changed"] {
        assert!(rows.contains(&format!("{kind} ")), "{kind}");
    }
    for secret in &secrets {
        // Neither a whole token nor its signature.
        for part in [secret.as_str(), secret.rsplit('.').next().unwrap()] {
            assert!(!rows.contains(part), "{part} is in the audit log:\n{rows}");
        }
    }
}
