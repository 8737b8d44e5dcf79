//! Administrative changes take effect immediately on this server, after a sync on the others, and permanently.

use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{Admin, Database, Form, NewClient, PASSWORD, TestServer, eventually, on_both_engines};

on_both_engines!(
    setting_a_password_ends_all_sessions,
    changing_the_own_password_ends_all_other_sessions,
    disabling_a_user_ends_sessions_permanently,
    deleting_a_user_ends_sessions,
    administrators_can_end_all_sessions_of_a_user,
    removed_scopes_of_a_role_no_longer_count,
    removed_scopes_of_a_client_no_longer_count,
    disabled_and_deleted_clients_lose_their_tokens,
    users_can_change_their_own_account,
    self_registration_creates_users_if_enabled,
);

/// Two servers on one database.
struct Scene {
    admin: Admin,
    other: TestServer,
}

/// A session: its access token and its refresh token.
struct Login(String, String);

impl Scene {
    async fn start(database: Database) -> Self {
        let issuer = ["--issuer", "http://id.example"];
        let server = TestServer::with(database, &issuer).await;
        let other = TestServer::on(server.database().url(), &issuer, server.clock.clone()).await.unwrap();
        let token = server.admin().await;
        Self { admin: Admin { server, token }, other }
    }

    async fn login(&self, form: &Form) -> Login {
        let body = self.admin.server.token(form).send().await.json_with(200);
        let member = |name: &str| body[name].as_str().unwrap().to_owned();
        Login(member("access_token"), member("refresh_token"))
    }

    async fn maria(&self) -> Login {
        self.login(&Form::password("maria", PASSWORD)).await
    }

    async fn is_active(&self, login: &Login) {
        for server in [&self.admin.server, &self.other] {
            assert_eq!(server.get("/users/me").bearer(&login.0).send().await.status, 200);
        }
    }

    /// Checks that a session has ended: on this server at once, on the other one after its sync, and for refreshes on both.
    async fn has_ended(&self, login: &Login) {
        let answer = self.admin.server.get("/users/me").bearer(&login.0).send().await;
        answer.problem(401, "invalid-token");
        let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &login.1)]);
        for server in [&self.admin.server, &self.other] {
            server.token(&refresh).send().await.oauth_error(400, "invalid_grant");
        }
        eventually("the other server syncs", async || {
            self.other.get("/users/me").bearer(&login.0).send().await.status == 401
        })
        .await;
        let reuses = "SELECT count(*) FROM audit_events WHERE kind = 'refresh_token.reused'";
        assert_eq!(self.admin.server.database().number(reuses).await, 0, "it is not reported as reuse");
    }

    async fn disable(&self, path: &str, disabled: bool) {
        self.admin.ask("PATCH", path, &json!({"disabled": disabled})).await.json_with(200);
    }
}

async fn setting_a_password_ends_all_sessions(database: Database) {
    let scene = Scene::start(database).await;
    let maria = scene.admin.user("maria", &[]).await;
    let logins = [scene.maria().await, scene.maria().await];
    scene.is_active(&logins[0]).await;
    let body = json!({"password": "another password"});
    assert_eq!(scene.admin.ask("PUT", &format!("{maria}/password"), &body).await.status, 204);
    for login in &logins {
        scene.has_ended(login).await;
    }
    scene.other.token(&Form::password("maria", PASSWORD)).send().await.oauth_error(400, "invalid_grant");
    scene.admin.server.advance(Duration::seconds(1));
    scene.is_active(&scene.login(&Form::password("maria", "another password")).await).await;
}

async fn changing_the_own_password_ends_all_other_sessions(database: Database) {
    let scene = Scene::start(database).await;
    scene.admin.user("maria", &[]).await;
    let (own, another) = (scene.maria().await, scene.maria().await);
    let put = |body: Value| scene.admin.server.request("PUT", "/users/me/password").bearer(&own.0).json(&body).send();
    let body = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    put(body("wrong password", "another password")).await.wrong_fields(&[("current_password", "format")]);
    put(body(PASSWORD, "short")).await.wrong_fields(&[("new_password", "length")]);
    put(json!({})).await.wrong_fields(&[("current_password", "required"), ("new_password", "required")]);
    put(json!({"password": "another password"})).await.problem(400, "malformed-body");
    scene.is_active(&another).await;
    let done = put(body(PASSWORD, "another password")).await;
    assert_eq!((done.status, done.body.len()), (204, 0));
    scene.has_ended(&another).await;
    scene.is_active(&own).await;
    let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &own.1)]);
    scene.other.token(&refresh).send().await.json_with(200);
    put(body(PASSWORD, "a third password")).await.wrong_fields(&[("current_password", "format")]);
    scene.login(&Form::password("maria", "another password")).await;
}

async fn disabling_a_user_ends_sessions_permanently(database: Database) {
    let scene = Scene::start(database).await;
    let maria = scene.admin.user("maria", &["admin"]).await;
    let login = scene.maria().await;
    scene.is_active(&login).await;
    scene.disable(&maria, true).await;
    scene.has_ended(&login).await;
    let refused = scene.admin.server.token(&Form::password("maria", PASSWORD)).send().await;
    assert_eq!(refused.oauth_error(400, "invalid_grant")["reason"], "account_disabled");
    scene.admin.server.get("/admin/users").bearer(&login.0).send().await.problem(401, "invalid-token");
    scene.admin.server.advance(Duration::seconds(1));
    scene.disable(&maria, false).await;
    scene.has_ended(&login).await;
    scene.is_active(&scene.maria().await).await;
}

async fn deleting_a_user_ends_sessions(database: Database) {
    let scene = Scene::start(database).await;
    let maria = scene.admin.user("maria", &["admin"]).await;
    let login = scene.maria().await;
    scene.is_active(&login).await;
    assert_eq!(scene.admin.delete(&maria).await.status, 204);
    scene.has_ended(&login).await;
    scene.admin.server.get("/admin/users").bearer(&login.0).send().await.problem(401, "invalid-token");
    // A new user with this username is another user.
    scene.admin.server.advance(Duration::seconds(1));
    assert_ne!(scene.admin.user("maria", &[]).await, maria);
    scene.has_ended(&login).await;
}

async fn administrators_can_end_all_sessions_of_a_user(database: Database) {
    let scene = Scene::start(database).await;
    let maria = scene.admin.user("maria", &[]).await;
    let logins = [scene.maria().await, scene.maria().await];
    assert_eq!(scene.admin.delete(&format!("{maria}/sessions")).await.status, 204);
    for login in &logins {
        scene.has_ended(login).await;
    }
    scene.is_active(&scene.maria().await).await;
    // Repeating the request succeeds.
    assert_eq!(scene.admin.delete(&format!("{maria}/sessions")).await.status, 204);
    assert_eq!(scene.admin.delete(&format!("{maria}/sessions")).await.status, 204);
}

async fn removed_scopes_of_a_role_no_longer_count(database: Database) {
    let scene = Scene::start(database).await;
    scene.admin.role("reader", &["users:read", "roles:read"]).await;
    let maria = scene.admin.user("maria", &["reader"]).await;
    let login = scene.maria().await;
    let read = async |path: &str| {
        let mut statuses = Vec::new();
        for server in [&scene.admin.server, &scene.other] {
            statuses.push(server.get(path).bearer(&login.0).send().await.status);
        }
        statuses
    };
    assert_eq!((read("/admin/users").await, read("/admin/roles").await), (vec![200, 200], vec![200, 200]));
    scene.admin.role("reader", &["roles:read"]).await;
    assert_eq!((read("/admin/users").await[0], read("/admin/roles").await), (403, vec![200, 200]));
    eventually("the other server syncs", async || read("/admin/users").await[1] == 403).await;
    let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &login.1)]);
    let next = scene.other.token(&refresh).send().await.json_with(200);
    assert_eq!(next["scope"], "account roles:read");
    scene.admin.ask("PUT", &format!("{maria}/roles"), &json!({"roles": []})).await.json_with(200);
    assert_eq!(read("/admin/roles").await[0], 403);
    eventually("the other server syncs", async || read("/admin/roles").await[1] == 403).await;
    let refresh = refresh.set("refresh_token", next["refresh_token"].as_str().unwrap());
    assert_eq!(scene.admin.server.token(&refresh).send().await.json_with(200)["scope"], "account");
    // The session continues with the remaining scope.
    scene.is_active(&login).await;
}

async fn removed_scopes_of_a_client_no_longer_count(database: Database) {
    let scene = Scene::start(database).await;
    scene.admin.role("reader", &["users:read", "roles:read"]).await;
    scene.admin.user("maria", &["reader"]).await;
    let shop = NewClient {
        id: "shop",
        grants: &["client_credentials", "password", "refresh_token"],
        scopes: "account roles:read users:read",
        ..NewClient::default()
    };
    let secret = scene.admin.server.create_client(shop).await;
    let form = Form::password("maria", PASSWORD).and("client_id", "shop").and("client_secret", &secret);
    let (login, machine) = (scene.login(&form).await, scene.admin.server.machine("shop", &secret, "users:read").await);
    let read = async |server: &TestServer, token: &str| server.get("/admin/users").bearer(token).send().await.status;
    for token in [&login.0, &machine] {
        assert_eq!((read(&scene.admin.server, token).await, read(&scene.other, token).await), (200, 200));
    }
    let fewer = json!({"scopes": ["account", "roles:read"]});
    scene.admin.ask("PATCH", "/admin/clients/shop", &fewer).await.json_with(200);
    for token in [&login.0, &machine] {
        scene.admin.server.get("/admin/users").bearer(token).send().await.lacks("users:read");
        eventually("the other server syncs", async || read(&scene.other, token).await == 403).await;
    }
    assert_eq!(scene.admin.server.get("/admin/roles").bearer(&login.0).send().await.status, 200);
    let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &login.1)]);
    let next = scene.other.token(&refresh.and("client_id", "shop").and("client_secret", &secret)).send().await;
    assert_eq!(next.json_with(200)["scope"], "account roles:read");
}

async fn disabled_and_deleted_clients_lose_their_tokens(database: Database) {
    let scene = Scene::start(database).await;
    scene.admin.user("maria", &[]).await;
    let grants = &["client_credentials", "password", "refresh_token"];
    let secret = scene
        .admin
        .server
        .create_client(NewClient { id: "shop", grants, scopes: "account roles:read", ..NewClient::default() })
        .await;
    let form = Form::password("maria", PASSWORD).and("client_id", "shop").and("client_secret", &secret);
    let alone = Form::of(&[("grant_type", "client_credentials"), ("client_id", "shop"), ("client_secret", &secret)]);
    let machine = async || -> String {
        let body = scene.admin.server.token(&alone).send().await.json_with(200);
        body["access_token"].as_str().unwrap().to_owned()
    };
    for change in ["disable", "delete"] {
        let (login, token) = (scene.login(&form).await, machine().await);
        scene.is_active(&login).await;
        assert_eq!(scene.admin.server.get("/admin/roles").bearer(&token).send().await.status, 200);
        match change {
            "disable" => scene.disable("/admin/clients/shop", true).await,
            _ => assert_eq!(scene.admin.delete("/admin/clients/shop").await.status, 204),
        }
        for revoked in [&login.0, &token] {
            for path in ["/users/me", "/admin/roles"] {
                scene.admin.server.get(path).bearer(revoked).send().await.problem(401, "invalid-token");
            }
            eventually("the other server syncs", async || {
                scene.other.get("/verify").bearer(revoked).send().await.status == 401
            })
            .await;
        }
        let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &login.1)]);
        let refresh = refresh.and("client_id", "shop").and("client_secret", &secret);
        for form in [&form, &alone, &refresh] {
            for server in [&scene.admin.server, &scene.other] {
                server.token(form).send().await.oauth_error(401, "invalid_client");
            }
        }
        let ask = Form::of(&[("token", &login.1), ("client_id", "shop"), ("client_secret", &secret)]);
        let introspect = scene.admin.server.request("POST", "/introspect").form(&ask).send().await;
        introspect.oauth_error(401, "invalid_client");
        if change == "disable" {
            scene.admin.server.advance(Duration::seconds(1));
            scene.disable("/admin/clients/shop", false).await;
            scene.admin.server.token(&refresh).send().await.oauth_error(400, "invalid_grant");
            scene.admin.server.get("/users/me").bearer(&login.0).send().await.problem(401, "invalid-token");
        }
    }
}

async fn users_can_change_their_own_account(database: Database) {
    let admin = Admin::start(database).await;
    admin.create(&json!({"username": "peter", "email": "peter@example.com", "password": PASSWORD})).await;
    admin.user("maria", &[]).await;
    let token = admin.server.login("maria", PASSWORD).await;
    let patch = async |body: Value| admin.ask_as(&token, "PATCH", "/users/me", &body).await;
    let answer = patch(json!({"email": "Maria@example.com", "display_name": "Mária"})).await;
    let me = admin.server.get("/users/me").bearer(&token).send().await.json_with(200);
    assert_eq!((answer.json_with(200), answer.header("cache-control")), (me.clone(), "no-store"));
    assert_eq!((&me["email"], &me["display_name"]), (&json!("Maria@example.com"), &json!("Mária")));
    for (body, wrong) in [
        (json!({"email": "x", "display_name": ""}), &[("email", "email"), ("display_name", "length")][..]),
        (json!({"email": 5}), &[("email", "format")]),
    ] {
        patch(body).await.wrong_fields(wrong);
    }
    patch(json!({"email": "PETER@example.com"})).await.problem(409, "conflict");
    for member in ["username", "roles", "disabled", "scopes", "password", "id"] {
        patch(json!({ member: null })).await.problem(400, "malformed-body");
    }
    let request = admin.server.request("PATCH", "/users/me").bearer(&token);
    let merged = request.body("application/merge-patch+json", r#"{"display_name": null}"#).send().await.json_with(200);
    assert_eq!((&merged["email"], &merged["display_name"]), (&json!("Maria@example.com"), &Value::Null));
    // The email works at a login, until it is removed.
    admin.server.login("maria@EXAMPLE.com", PASSWORD).await;
    patch(json!({"email": null})).await.json_with(200);
    let gone = admin.server.token(&Form::password("maria@example.com", PASSWORD)).send().await;
    gone.oauth_error(400, "invalid_grant");
}

async fn self_registration_creates_users_if_enabled(database: Database) {
    let server = TestServer::start(database).await;
    let register = async |server: &TestServer, body: &Value| server.request("POST", "/users").json(body).send().await;
    let body = json!({"username": "maria", "email": "maria@example.com", "password": PASSWORD, "display_name": "M"});
    register(&server, &body).await.problem(404, "not-found");
    server.request("POST", "/users").body("text/plain", "{").send().await.problem(404, "not-found");
    let server = TestServer::with(server.stop(), &["--registration"]).await;
    let answer = register(&server, &body).await;
    let created = answer.json_with(201);
    assert_eq!(
        created,
        json!({
            "id": created["id"], "username": "maria", "email": "maria@example.com", "display_name": "M",
            "roles": ["member"], "scopes": ["account"], "disabled": false, "created_at": "2026-01-31T12:00:00Z",
            "updated_at": "2026-01-31T12:00:00Z", "last_login_at": null,
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    server.login("maria", PASSWORD).await;
    register(&server, &body).await.problem(409, "conflict");
    register(&server, &json!({"username": "MARIA", "password": PASSWORD})).await.problem(409, "conflict");
    let all = json!({"username": "maria@example.com", "email": "x", "password": "short", "display_name": ""});
    let wrong = [("username", "format"), ("email", "email"), ("password", "length"), ("display_name", "length")];
    register(&server, &all).await.wrong_fields(&wrong);
    for member in ["roles", "disabled", "scopes", "id"] {
        let mut body = json!({"username": "peter", "password": PASSWORD});
        body[member] = json!(null);
        register(&server, &body).await.problem(400, "malformed-body");
    }
    // The token of an administrator does not change the roles of the new user.
    let admin = server.admin().await;
    let body = json!({"username": "peter", "password": PASSWORD});
    let created = server.request("POST", "/users").bearer(&admin).json(&body).send().await.json_with(201);
    assert_eq!(created["roles"], json!(["member"]));
}
