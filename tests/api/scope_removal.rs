//! `roles:write`: a caller cannot remove scopes that they lack, neither from roles nor by deleting roles and scopes.

use serde_json::{Value, json};

use crate::harness::{Admin, Answer, Database, NewClient, PASSWORD, on_both_engines};

on_both_engines!(
    scopes_that_the_caller_lacks_cannot_be_removed,
    scopes_that_the_caller_has_can_be_removed,
    the_same_rules_apply_to_narrowed_tokens_and_clients,
);

/// The user `helper` with `roles:write` and `users:read`, and roles with further scopes.
struct Scene {
    admin: Admin,
    helper: String,
}

impl Scene {
    async fn set(database: Database) -> Self {
        let mut admin = Admin::start(database).await;
        for scope in ["vault:open", "items:read"] {
            admin.ask("PUT", &format!("/admin/scopes/{scope}"), &json!({})).await.json_with(201);
        }
        admin.token = admin.server.admin().await;
        admin.role("helper", &["roles:read", "roles:write", "users:read", "items:read"]).await;
        admin.role("keyholder", &["keys:write"]).await;
        admin.role("mixed", &["users:read", "keys:write"]).await;
        admin.role("vault", &["vault:open"]).await;
        admin.role("reader", &["users:read", "items:read"]).await;
        admin.user("helper", &["helper"]).await;
        admin.user("holder", &["keyholder", "mixed", "vault", "reader"]).await;
        let helper = admin.server.login("helper", PASSWORD).await;
        Self { admin, helper }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.admin.ask_as(token, method, path, body).await
    }

    /// Checks that each request is refused for lack of this scope, and changes nothing.
    async fn refuses(&self, token: &str, requests: &[(&str, &str, Value, &str)]) {
        let events = "SELECT count(*) FROM audit_events WHERE kind NOT LIKE 'login%'";
        let database = self.admin.server.database();
        let before = (self.admin.everything().await, database.number(events).await);
        for (method, path, body, lacking) in requests {
            let answer = self.ask(token, method, path, body).await;
            assert_eq!(answer.status, 403, "{method} {path} {body}: {}", answer.text());
            answer.lacks(lacking);
        }
        assert_eq!((self.admin.everything().await, database.number(events).await), before);
    }
}

async fn scopes_that_the_caller_lacks_cannot_be_removed(database: Database) {
    let scene = Scene::set(database).await;
    let requests = [
        ("PUT", "/admin/roles/keyholder", json!({"scopes": []}), "keys:write"),
        ("PUT", "/admin/roles/keyholder", json!({"scopes": ["users:read"]}), "keys:write"),
        ("PUT", "/admin/roles/mixed", json!({"scopes": ["users:read"]}), "keys:write"),
        ("PUT", "/admin/roles/mixed", json!({"scopes": [], "description": "emptied"}), "keys:write"),
        ("PUT", "/admin/roles/vault", json!({"scopes": ["items:read"]}), "vault:open"),
        ("DELETE", "/admin/roles/keyholder", json!({}), "keys:write"),
        ("DELETE", "/admin/roles/mixed", json!({}), "keys:write"),
        ("DELETE", "/admin/roles/vault", json!({}), "vault:open"),
    ];
    scene.refuses(&scene.helper, &requests).await;
    let holder = scene.admin.server.login("holder", PASSWORD).await;
    let scope = crate::token::claims(&holder)["scope"].clone();
    assert_eq!(scope, "account items:read keys:write users:read vault:open");
    // Unknown and built-in objects are reported before missing scopes.
    for (path, status, kind) in [
        ("/admin/roles/nothing", 404, "not-found"),
        ("/admin/scopes/nothing", 404, "not-found"),
        ("/admin/roles/admin", 409, "conflict"),
        ("/admin/scopes/keys:write", 409, "conflict"),
    ] {
        scene.ask(&scene.helper, "DELETE", path, &json!({})).await.problem(status, kind);
    }
}

async fn scopes_that_the_caller_has_can_be_removed(database: Database) {
    let scene = Scene::set(database).await;
    let put = scene.ask(&scene.helper, "PUT", "/admin/roles/reader", &json!({"scopes": ["users:read"]})).await;
    assert_eq!(put.json_with(200)["scopes"], json!(["users:read"]));
    let put = scene.ask(&scene.helper, "PUT", "/admin/roles/reader", &json!({"scopes": []})).await;
    assert_eq!(put.json_with(200)["scopes"], json!([]));
    for path in ["/admin/roles/reader", "/admin/scopes/items:read"] {
        assert_eq!(scene.ask(&scene.helper, "DELETE", path, &json!({})).await.status, 204, "{path}");
    }
    // An administrator with all these scopes can remove them.
    for path in ["/admin/roles/keyholder", "/admin/roles/mixed", "/admin/roles/vault", "/admin/scopes/vault:open"] {
        assert_eq!(scene.admin.delete(path).await.status, 204, "{path}");
    }
}

async fn the_same_rules_apply_to_narrowed_tokens_and_clients(database: Database) {
    let scene = Scene::set(database).await;
    let machine = NewClient {
        id: "machine",
        grants: &["client_credentials"],
        scopes: "roles:write users:read",
        ..NewClient::default()
    };
    let secret = scene.admin.server.create_client(machine).await;
    let machine = scene.admin.server.machine("machine", &secret, "roles:write users:read").await;
    let narrowed =
        scene.admin.server.login_for("admin", crate::harness::ADMIN_PASSWORD, "roles:write users:read").await;
    let requests = [
        ("PUT", "/admin/roles/keyholder", json!({"scopes": []}), "keys:write"),
        ("PUT", "/admin/roles/reader", json!({"scopes": ["users:read"]}), "items:read"),
        ("DELETE", "/admin/roles/vault", json!({}), "vault:open"),
    ];
    for token in [&machine, &narrowed] {
        scene.refuses(token, &requests).await;
    }
}
