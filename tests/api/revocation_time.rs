//! The time of a revocation: tokens that are issued before it takes effect are refused, however long it waited for locks.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    harness::{
        Admin, Database, Form, NewClient, PASSWORD, Request, TestServer, Transaction, eventually, on_both_engines,
    },
    token::claims,
};

on_both_engines!(tokens_of_a_disabled_client_are_refused);

pub(crate) const ISSUER: [&str; 2] = ["--issuer", "http://id.example"];
/// With this many further sessions, tokens of a user are revoked by the time of issue, and not by session.
pub(crate) const MANY: usize = 101;

/// The changes that end all sessions of a user: method, suffix of the user's path, and body.
pub(crate) fn revoking_changes() -> [(&'static str, &'static str, Value); 4] {
    [
        ("PATCH", "", json!({"disabled": true})),
        ("PUT", "/password", json!({"password": "another password"})),
        ("DELETE", "/sessions", json!({})),
        ("DELETE", "", json!({})),
    ]
}

/// The tokens of a login or refresh.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(body: &Value) -> Self {
        let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Self { access: member("access_token"), refresh: member("refresh_token") }
    }

    fn form(&self) -> Form {
        Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &self.refresh)])
    }
}

/// A server with a client that may introspect every token, and the client `shop`.
pub(crate) struct Scene {
    pub(crate) admin: Admin,
    inspector: String,
    /// The secret of the client `shop`.
    pub(crate) shop: String,
}

impl Scene {
    pub(crate) async fn set(database: Database) -> Self {
        let server = TestServer::with(database, &ISSUER).await;
        let inspector = NewClient {
            id: "inspector",
            grants: &["client_credentials"],
            scopes: "tokens:introspect",
            ..NewClient::default()
        };
        let inspector = server.create_client(inspector).await;
        let shop = NewClient {
            id: "shop",
            grants: &["client_credentials", "password", "refresh_token"],
            scopes: "account users:read",
            ..NewClient::default()
        };
        let shop = server.create_client(shop).await;
        let token = server.admin().await;
        Self { admin: Admin { server, token }, inspector, shop }
    }

    async fn get(&self, request: Request) -> Tokens {
        Tokens::of(&request.send().await.json_with(200))
    }

    pub(crate) async fn login(&self, username: &str) -> Tokens {
        self.get(self.admin.server.token(&Form::password(username, PASSWORD))).await
    }

    /// Returns a token request of the client `shop`.
    fn shop(&self, form: &Form) -> Request {
        self.admin.server.token(form).basic("shop", &self.shop)
    }

    async fn machine(&self) -> Tokens {
        self.get(self.shop(&Form::of(&[("grant_type", "client_credentials")]))).await
    }

    /// Begins a change and waits until it is blocked by a lock.
    async fn begin(&self, method: &str, path: &str, body: &Value) -> tokio::task::JoinHandle<u16> {
        let request = self.admin.server.request(method, path).bearer(&self.admin.token).json(body);
        let change = tokio::spawn(async move { request.send().await.status });
        eventually("the change waits for a lock", async || {
            change.is_finished() || self.admin.server.database().waiting_for_locks().await > 0
        })
        .await;
        change
    }

    /// Checks that access tokens and refresh tokens are refused by all endpoints.
    async fn are_refused(&self, what: &str, tokens: &[Tokens]) {
        let server = &self.admin.server;
        for (number, token) in tokens.iter().enumerate() {
            let what = format!("{what}: token {number}, issued at {}", claims(&token.access)["iat"]);
            for path in ["/users/me", "/verify"] {
                let status = server.get(path).bearer(&token.access).send().await.status;
                assert_eq!(status, 401, "{what}, at {path}");
            }
            for token in [&token.access, &token.refresh] {
                let form = Form::of(&[("token", token)]);
                if !token.is_empty() {
                    let request = server.request("POST", "/introspect").form(&form);
                    let introspected = request.basic("inspector", &self.inspector).send().await;
                    assert_eq!(introspected.json_with(200), json!({"active": false}), "{what}, at /introspect");
                }
            }
        }
    }
}

/// Creates sessions of `name`. Returns the tokens of the first one; and those of a later one, before and after a refresh (so
/// that the refresh can be retried).
async fn sessions(scene: &Scene, name: &str) -> (Tokens, Tokens, Tokens) {
    let first = scene.login(name).await;
    scene.admin.server.advance(Duration::seconds(1));
    let used = scene.login(name).await;
    let current = scene.get(scene.admin.server.token(&used.form())).await;
    scene.admin.server.database().copy_session(name, MANY).await;
    (first, used, current)
}

#[actix_web::test]
async fn a_user_whose_row_is_locked() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    for (number, (method, path, body)) in revoking_changes().into_iter().enumerate() {
        let name = format!("maria-{number}");
        let user = scene.admin.user(&name, &[]).await;
        let (first, _, current) = sessions(&scene, &name).await;
        let mut lock = Transaction::begin(server.database()).await;
        lock.run(&format!("SELECT id FROM users WHERE username = '{name}' FOR UPDATE")).await;
        let change = scene.begin(method, &format!("{user}{path}"), &body).await;
        server.advance(Duration::seconds(20));
        let next = scene.get(server.token(&current.form())).await;
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method} {path}");
        scene.are_refused(&format!("{method} {path}"), &[first, current, next]).await;
    }
}

/// Locks that a change may need before the user's row.
#[actix_web::test]
async fn a_user_while_scopes_and_roles_are_locked() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    for (number, (method, path, body)) in revoking_changes().into_iter().enumerate() {
        let name = format!("maria-{number}");
        let user = scene.admin.user(&name, &[]).await;
        let (first, _, current) = sessions(&scene, &name).await;
        let mut lock = Transaction::begin(server.database()).await;
        lock.run("SELECT name FROM scopes FOR UPDATE; SELECT name FROM roles FOR UPDATE").await;
        let change = scene.begin(method, &format!("{user}{path}"), &body).await;
        let is_held_up = !change.is_finished();
        server.advance(Duration::seconds(20));
        let mut tokens = vec![first];
        if is_held_up {
            tokens.push(scene.login(&name).await);
            tokens.push(scene.get(server.token(&current.form())).await);
        }
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method} {path}");
        scene.are_refused(&format!("{method} {path}"), &tokens).await;
    }
}

/// The change has already locked the user, while later sessions are still in use.
#[actix_web::test]
async fn a_user_with_a_locked_session() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    for (number, (method, path, body)) in revoking_changes().into_iter().enumerate() {
        let name = format!("maria-{number}");
        let user = scene.admin.user(&name, &[]).await;
        let (first, used, current) = sessions(&scene, &name).await;
        let sid = claims(&first.access)["sid"].as_str().unwrap().to_owned();
        let mut lock = Transaction::begin(server.database()).await;
        lock.run(&format!("SELECT id FROM sessions WHERE id = '{sid}' FOR UPDATE")).await;
        let change = scene.begin(method, &format!("{user}{path}"), &body).await;
        server.advance(Duration::seconds(20));
        // A retry, which writes nothing. Then a rotation.
        let again = scene.get(server.token(&used.form())).await;
        server.advance(Duration::seconds(1));
        let next = scene.get(server.token(&current.form())).await;
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method} {path}");
        scene.are_refused(&format!("{method} {path}"), &[first, current, again, next]).await;
    }
}

/// The change is written except for the revocation, which waits for another one. A retried refresh may wait for it, or not.
#[actix_web::test]
async fn a_user_while_another_revocation_commits() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    for (number, (method, path, body)) in revoking_changes().into_iter().enumerate() {
        let name = format!("maria-{number}");
        let user = scene.admin.user(&name, &[]).await;
        let (first, used, current) = sessions(&scene, &name).await;
        let mut lock = Transaction::begin(server.database()).await;
        lock.run("SELECT id FROM changes FOR UPDATE").await;
        let change = scene.begin(method, &format!("{user}{path}"), &body).await;
        server.advance(Duration::seconds(20));
        let again = tokio::spawn(server.token(&used.form()).send());
        eventually("the retry is answered or waits, too", async || {
            again.is_finished() || server.database().waiting_for_locks().await > 1
        })
        .await;
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method} {path}");
        let mut tokens = vec![first, current];
        let again = again.await.unwrap();
        if again.status == 200 {
            tokens.push(Tokens::of(&again.json_with(200)));
        }
        scene.are_refused(&format!("{method} {path}"), &tokens).await;
    }
}

/// Enables the client again: its old tokens stay refused, and new ones are accepted.
pub(crate) async fn enable_again(scene: &Scene, tokens: &[Tokens]) {
    let server = &scene.admin.server;
    server.advance(Duration::minutes(1));
    scene.admin.ask("PATCH", "/admin/clients/shop", &json!({"disabled": false})).await.json_with(200);
    scene.are_refused("enabled again", tokens).await;
    for token in tokens.iter().filter(|token| !token.refresh.is_empty()) {
        scene.shop(&token.form()).send().await.oauth_error(400, "invalid_grant");
    }
    let login = scene.get(scene.shop(&Form::password("maria", PASSWORD))).await;
    assert_eq!(server.get("/users/me").bearer(&login.access).send().await.status, 200);
    let machine = scene.machine().await;
    assert_eq!(server.get("/verify").bearer(&machine.access).send().await.status, 204);
}

#[actix_web::test]
async fn a_client_whose_row_is_locked() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    scene.admin.user("maria", &[]).await;
    let maria = Form::password("maria", PASSWORD);
    for (method, body) in [("PATCH", json!({"disabled": true})), ("DELETE", json!({}))] {
        let login = scene.get(scene.shop(&maria)).await;
        let mut lock = Transaction::begin(server.database()).await;
        // The lock of an `UPDATE`: sessions that reference the client can still be inserted.
        lock.run("SELECT client_id FROM clients WHERE client_id = 'shop' FOR NO KEY UPDATE").await;
        let change = scene.begin(method, "/admin/clients/shop", &body).await;
        server.advance(Duration::seconds(20));
        let tokens = [
            scene.machine().await,
            scene.get(scene.shop(&maria)).await,
            scene.get(scene.shop(&login.form())).await,
            login,
        ];
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method}");
        scene.are_refused(method, &tokens).await;
        if method == "PATCH" {
            enable_again(&scene, &tokens).await;
        }
    }
}

#[actix_web::test]
async fn a_client_while_another_revocation_commits() {
    let Some(database) = Database::postgres().await else { return };
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    scene.admin.user("maria", &[]).await;
    let maria = Form::password("maria", PASSWORD);
    for (method, body) in [("PATCH", json!({"disabled": true})), ("DELETE", json!({}))] {
        let mut tokens = vec![scene.get(scene.shop(&maria)).await];
        let mut lock = Transaction::begin(server.database()).await;
        lock.run("SELECT id FROM changes FOR UPDATE").await;
        let change = scene.begin(method, "/admin/clients/shop", &body).await;
        server.advance(Duration::seconds(20));
        tokens.push(scene.machine().await);
        if method == "PATCH" {
            // A deletion already blocks logins at the client.
            tokens.push(scene.get(scene.shop(&maria)).await);
        }
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method}");
        scene.are_refused(method, &tokens).await;
        if method == "PATCH" {
            enable_again(&scene, &tokens).await;
        }
    }
}

/// SQLite has one writer: a change waits for it. A retried refresh may wait for it, or not.
#[actix_web::test]
async fn changes_that_wait_for_the_writer_of_sqlite() {
    let scene = Scene::set(Database::sqlite()).await;
    let server = &scene.admin.server;
    let user = scene.admin.user("maria", &[]).await;
    scene.admin.user("peter", &[]).await;
    let (_, used, _) = sessions(&scene, "maria").await;
    let shop = scene.get(scene.shop(&Form::password("peter", PASSWORD))).await;
    scene.get(scene.shop(&shop.form())).await;
    for (method, path, body, again) in [
        ("DELETE", &*user, json!({}), server.token(&used.form())),
        ("PATCH", "/admin/clients/shop", json!({"disabled": true}), scene.shop(&shop.form())),
    ] {
        let lock = Transaction::begin(server.database()).await;
        let statements = server.app.store.statements_run();
        let change = server.request(method, path).bearer(&scene.admin.token).json(&body);
        let change = tokio::spawn(async move { change.send().await.status });
        // The change has read its caller, and later requests were answered: now it waits for the writer.
        eventually("the change has begun", async || server.app.store.statements_run() > statements).await;
        for _ in 0..3 {
            assert_eq!(server.get("/users/me").bearer(&scene.admin.token).send().await.status, 200);
        }
        server.advance(Duration::seconds(20));
        let again = tokio::spawn(again.send());
        for _ in 0..3 {
            assert_eq!(server.get("/users/me").bearer(&scene.admin.token).send().await.status, 200);
        }
        lock.commit().await;
        assert!([200, 204].contains(&change.await.unwrap()), "{method} {path}");
        let again = again.await.unwrap();
        if again.status == 200 {
            scene.are_refused(method, &[Tokens::of(&again.json_with(200))]).await;
        }
    }
}

/// Also if its tokens are not listed as revoked.
async fn tokens_of_a_disabled_client_are_refused(database: Database) {
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    scene.admin.role("reader", &["users:read"]).await;
    scene.admin.user("maria", &["reader"]).await;
    let tokens = [scene.machine().await, scene.get(scene.shop(&Form::password("maria", PASSWORD))).await];
    for token in &tokens {
        assert_eq!(server.get("/admin/users").bearer(&token.access).send().await.status, 200);
    }
    let disable = "UPDATE clients SET disabled = TRUE WHERE client_id = 'shop'";
    server.database().execute(disable).await.unwrap();
    server.database().execute("UPDATE changes SET clients = clients + 1").await.unwrap();
    for token in &tokens {
        eventually("the token is refused", async || {
            server.get("/admin/users").bearer(&token.access).send().await.status == 401
        })
        .await;
        server.get("/admin/users").bearer(&token.access).send().await.problem(401, "invalid-token");
    }
}

async fn a_client_that_is_enabled_at_once_gets_valid_tokens(database: Database) {
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    scene.admin.user("maria", &[]).await;
    let before = [scene.machine().await, scene.get(scene.shop(&Form::password("maria", PASSWORD))).await];
    for disabled in [true, false] {
        scene.admin.ask("PATCH", "/admin/clients/shop", &json!({"disabled": disabled})).await.json_with(200);
    }
    let login = scene.get(scene.shop(&Form::password("maria", PASSWORD))).await;
    let machine = scene.machine().await;
    assert_eq!(server.get("/users/me").bearer(&login.access).send().await.status, 200);
    assert_eq!(server.get("/verify").bearer(&machine.access).send().await.status, 204);
    scene.are_refused("before", &before).await;
    server.advance(Duration::seconds(60));
    assert_eq!(server.get("/users/me").bearer(&login.access).send().await.status, 200);
    scene.shop(&login.form()).send().await.json_with(200);
}
on_both_engines!(a_client_that_is_enabled_at_once_gets_valid_tokens);
