//! Servers whose clocks differ by two seconds: a revocation on one covers tokens that the other has just issued.

use chrono::Duration;
use grantd::clock::Clock;
use serde_json::json;

use crate::{
    harness::{Database, Form, PASSWORD, TestServer, eventually, on_both_engines},
    revocation_time::{ISSUER, MANY, Scene, Tokens, enable_again, revoking_changes},
    token::claims,
};

on_both_engines!(
    user_revocations_cover_tokens_of_a_server_that_is_ahead,
    client_revocations_cover_tokens_of_a_server_that_is_ahead
);

/// Starts another server on the same database, whose clock is two seconds ahead.
async fn ahead(scene: &Scene) -> TestServer {
    let clock = Clock::manual(scene.admin.server.clock.now() + Duration::seconds(2));
    TestServer::on(scene.admin.server.database().url(), &ISSUER, clock).await.unwrap()
}

async fn are_refused_at_both(scene: &Scene, ahead: &TestServer, what: &str, tokens: &[String]) {
    for token in tokens {
        let status = scene.admin.server.get("/verify").bearer(token).send().await.status;
        assert_eq!(status, 401, "{what}: {}", claims(token)["iat"]);
        eventually("the other server syncs", async || ahead.get("/verify").bearer(token).send().await.status == 401)
            .await;
    }
}

async fn user_revocations_cover_tokens_of_a_server_that_is_ahead(database: Database) {
    let scene = Scene::set(database).await;
    for (number, (method, path, body)) in revoking_changes().into_iter().enumerate() {
        let name = format!("maria-{number}");
        let user = scene.admin.user(&name, &[]).await;
        let ahead = ahead(&scene).await;
        let here = scene.login(&name).await.access;
        let there = ahead.login(&name, PASSWORD).await;
        scene.admin.server.database().copy_session(&name, MANY).await;
        let changed = scene.admin.ask(method, &format!("{user}{path}"), &body).await;
        assert!([200, 204].contains(&changed.status), "{}", changed.text());
        are_refused_at_both(&scene, &ahead, &format!("{method} {path}"), &[here, there]).await;
    }
}

async fn client_revocations_cover_tokens_of_a_server_that_is_ahead(database: Database) {
    let scene = Scene::set(database).await;
    scene.admin.user("maria", &[]).await;
    for (method, body) in [("PATCH", json!({"disabled": true})), ("DELETE", json!({}))] {
        let ahead = ahead(&scene).await;
        let machine = Form::of(&[("grant_type", "client_credentials")]);
        let mut tokens = Vec::new();
        for form in [machine, Form::password("maria", PASSWORD)] {
            let body = ahead.token(&form).basic("shop", &scene.shop).send().await.json_with(200);
            tokens.push(Tokens::of(&body));
        }
        let changed = scene.admin.ask(method, "/admin/clients/shop", &body).await;
        assert!([200, 204].contains(&changed.status), "{}", changed.text());
        let access: Vec<_> = tokens.iter().map(|token| token.access.clone()).collect();
        are_refused_at_both(&scene, &ahead, method, &access).await;
        if method == "PATCH" {
            enable_again(&scene, &tokens[1..]).await;
        }
    }
}
