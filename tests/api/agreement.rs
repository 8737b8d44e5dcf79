//! Introspection, `/verify` and the guard of a service agree on every credential: who it is for, its scopes, and whether it
//! is valid.

use chrono::Duration;
use grantd_guard::Guard;
use serde_json::{Value, json};

use crate::harness::{Database, Form, NewClient, PASSWORD, TestServer, eventually, on_both_engines};

on_both_engines!(all_three_agree_on_every_credential);

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ITEMS: &str = "https://items.example";
const OTHER: &str = "https://other.example";

/// What each of the three says of a credential: subject and scopes, or that it is invalid.
type Verdict = Option<(String, String)>;

struct Scene {
    server: TestServer,
    /// Secrets of the clients `items`, `app` and `worker`.
    items: String,
    app: String,
    worker: String,
    guard: Guard,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Scene {
    async fn start(database: Database) -> Self {
        let server = TestServer::start(database).await;
        server.create_scopes(&["items:read"]).await;
        server.put_role("reader", "items:read").await;
        let client =
            |id, grants, scopes, audiences| NewClient { id, grants, scopes, audiences, ..NewClient::default() };
        let scopes = "account items:read";
        let items = server.create_client(client("items", &[EXCHANGE], scopes, &[ITEMS])).await;
        let app = server.create_client(client("app", &["password", "refresh_token", EXCHANGE], scopes, &[ITEMS])).await;
        let worker = server.create_client(client("worker", &["client_credentials"], scopes, &[ITEMS])).await;
        let clock = server.clock.clone();
        let guard = Guard::from_issuer(server.url())
            .audience(ITEMS)
            .clock(move || clock.now().timestamp())
            .follow_revocations("items", items.clone())
            .accept_api_keys()
            .build()
            .unwrap();
        Self { server, items, app, worker, guard }
    }

    async fn user(&self, name: &str) -> grantd::users::User {
        self.server.create_user(name, &["reader"]).await
    }

    async fn tokens(&self, name: &str) -> Value {
        self.server.token(&Form::password(name, PASSWORD)).basic("app", &self.app).send().await.json_with(200)
    }

    async fn access(&self, name: &str) -> String {
        text(&self.tokens(name).await["access_token"])
    }

    async fn key(&self, name: &str, audience: &str, expires_in: Option<Duration>) -> Value {
        let expires_at = expires_in.map(|after| self.server.clock.now() + after);
        let body =
            json!({"name": "a script", "scopes": ["items:read"], "audiences": [audience], "expires_at": expires_at});
        let request = self.server.request("POST", "/users/me/api-keys").basic_user(name, PASSWORD);
        request.json(&body).send().await.json_with(201)
    }

    async fn exchanged(&self, subject: &str) -> String {
        let form =
            Form::of(&[("grant_type", EXCHANGE), ("subject_token", subject), ("subject_token_type", ACCESS_TOKEN)]);
        let answer = self.server.token(&form).basic("items", &self.items).send().await;
        text(&answer.json_with(200)["access_token"])
    }

    async fn introspection(&self, credential: &str) -> Verdict {
        let form = Form::of(&[("token", credential)]);
        let request = self.server.request("POST", "/introspect").form(&form).basic("items", &self.items);
        let body = request.send().await.json_with(200);
        body["active"].as_bool().unwrap().then(|| (text(&body["sub"]), text(&body["scope"])))
    }

    async fn verify(&self, credential: &str) -> Verdict {
        let answer = self.server.get(&format!("/verify?audience={ITEMS}")).bearer(credential).send().await;
        assert!([204, 401].contains(&answer.status), "{}: {}", answer.status, answer.text());
        let named = |name| answer.header(name).to_owned();
        (answer.status == 204).then(|| (named("x-auth-subject"), named("x-auth-scope")))
    }

    async fn guard(&self, credential: &str) -> Verdict {
        let claims = self.guard.authenticate(credential).await.ok()?;
        Some((claims.sub.clone(), claims.scope.to_string()))
    }

    async fn delete(&self, path: &str, name: &str) {
        let answer = self.server.request("DELETE", path).basic_user(name, PASSWORD).send().await;
        assert_eq!(answer.status, 204, "{path}");
    }
}

async fn all_three_agree_on_every_credential(database: Database) {
    let scene = Scene::start(database).await;
    let server = &scene.server;
    let maria = scene.user("maria").await;
    for name in ["anna", "berta", "carla", "dora"] {
        scene.user(name).await;
    }
    let me = Some((maria.id.to_string(), "account items:read".to_owned()));
    let read_only = Some((maria.id.to_string(), "items:read".to_owned()));
    let of_client = Some(("worker".to_owned(), "account items:read".to_owned()));
    let tokens = scene.tokens("maria").await;
    let token = text(&tokens["access_token"]);
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let of_worker = server.token(&form).basic("worker", &scene.worker).send().await.json_with(200);
    let key = scene.key("maria", ITEMS, None).await;
    let key_text = text(&key["key"]);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let last = if key_text.ends_with('0') { '1' } else { '0' };
    let typo = format!("{}{last}", &key_text[..key_text.len() - 1]);

    // What ends afterwards, with what was exchanged for it.
    let logged_out = scene.access("anna").await;
    let of_logged_out = scene.exchanged(&logged_out).await;
    let deleted = scene.key("anna", ITEMS, None).await;
    let of_deleted = scene.exchanged(&text(&deleted["key"])).await;
    let new_password = scene.access("berta").await;
    let key_before_password = text(&scene.key("berta", ITEMS, None).await["key"]);
    let disabled = scene.access("carla").await;
    let key_of_disabled = text(&scene.key("carla", ITEMS, None).await["key"]);
    let user_deleted = scene.access("dora").await;
    let key_of_user_deleted = text(&scene.key("dora", ITEMS, None).await["key"]);
    let expiring = text(&scene.key("maria", ITEMS, Some(Duration::seconds(60))).await["key"]);
    let old = scene.access("maria").await;
    let wrong_audience = server.login("maria", PASSWORD).await;
    let key_of_other = text(&scene.key("maria", OTHER, None).await["key"]);
    let exchanged = (scene.exchanged(&token).await, scene.exchanged(&key_text).await);

    let sessions = server.get("/users/me/sessions").basic_user("anna", PASSWORD).send().await.json_with(200);
    scene.delete(&format!("/users/me/sessions/{}", text(&sessions["items"][0]["id"])), "anna").await;
    scene.delete(&format!("/users/me/api-keys/{}", text(&deleted["id"])), "anna").await;
    let find = async |name: &str| {
        let page = server.get(&format!("/admin/users?q={name}")).bearer(&server.admin().await).send().await;
        text(&page.json_with(200)["items"][0]["id"])
    };
    let (berta, carla, dora) = (find("berta").await, find("carla").await, find("dora").await);
    let admin = server.admin().await;
    let change = async |method: &str, path: String, body: Value| {
        let answer = server.request(method, &path).bearer(&admin).json(&body).send().await;
        assert!([200, 204].contains(&answer.status), "{}", answer.text());
    };
    change("PUT", format!("/admin/users/{berta}/password"), json!({"password": "seven purple staplers"})).await;
    change("PATCH", format!("/admin/users/{carla}"), json!({"disabled": true})).await;
    change("DELETE", format!("/admin/users/{dora}"), json!({})).await;
    let of_berta = Some((berta, "items:read".to_owned()));

    let table: Vec<(&str, &str, &Verdict)> = vec![
        ("access token", &token, &me),
        ("access token of a client", of_worker["access_token"].as_str().unwrap(), &of_client),
        ("API key", &key_text, &read_only),
        ("exchanged token", &exchanged.0, &me),
        ("exchanged token of an API key", &exchanged.1, &read_only),
        ("API key after a new password", &key_before_password, &of_berta),
        ("forged token", &forged, &None),
        ("API key with a typo", &typo, &None),
        ("client secret", &scene.items, &None),
        ("no token", "x", &None),
        ("token for another service", &wrong_audience, &None),
        ("API key for another service", &key_of_other, &None),
        ("token of an ended session", &logged_out, &None),
        ("exchanged token of an ended session", &of_logged_out, &None),
        ("deleted API key", deleted["key"].as_str().unwrap(), &None),
        ("exchanged token of a deleted API key", &of_deleted, &None),
        ("token before a new password", &new_password, &None),
        ("token of a disabled user", &disabled, &None),
        ("API key of a disabled user", &key_of_disabled, &None),
        ("token of a deleted user", &user_deleted, &None),
        ("API key of a deleted user", &key_of_user_deleted, &None),
    ];
    for (what, credential, expected) in &table {
        assert_eq!(scene.introspection(credential).await, **expected, "introspection: {what}");
        assert_eq!(scene.verify(credential).await, **expected, "/verify: {what}");
        // The revocations reach the guard within a second.
        eventually(&format!("the guard agrees: {what}"), async || scene.guard(credential).await == **expected).await;
    }
    // Introspection also describes refresh tokens, which open no route.
    let refresh = text(&tokens["refresh_token"]);
    assert_eq!((scene.verify(&refresh).await, scene.guard(&refresh).await), (None, None));

    let alive = [&expiring, &old];
    for credential in alive {
        assert_ne!(scene.introspection(credential).await, None);
        assert_ne!(scene.guard(credential).await, None);
    }
    // Also the leeway of the guard is over.
    server.advance(Duration::minutes(16));
    for (what, credential) in [("expired API key", &expiring), ("expired token", &old)] {
        assert_eq!(scene.introspection(credential).await, None, "introspection: {what}");
        assert_eq!(scene.verify(credential).await, None, "/verify: {what}");
        assert_eq!(scene.guard(credential).await, None, "guard: {what}");
    }
}
