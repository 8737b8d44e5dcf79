//! `/admin/roles` and `/admin/scopes`: requests, responses with all members, and validation errors.

use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{Admin, Database, Form, PASSWORD, on_both_engines};

on_both_engines!(
    scopes_can_be_created_changed_and_deleted,
    roles_can_be_created_changed_and_deleted,
    built_in_roles_and_scopes_cannot_be_deleted,
    invalid_names_and_bodies_are_refused,
    deletion_removes_scopes_and_roles_from_their_holders,
);

async fn scopes_can_be_created_changed_and_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let path = "/admin/scopes/items:read";
    let created = admin.ask("PUT", path, &json!({"description": "See items"})).await;
    let mut scope = json!({
        "name": "items:read", "description": "See items", "built_in": false, "created_at": "2026-01-31T12:00:00Z",
    });
    assert_eq!(created.json_with(201), scope);
    assert_eq!((created.header("location"), created.header("cache-control")), (path, "no-store"));
    admin.server.advance(Duration::seconds(1));
    let same = admin.ask("PUT", path, &json!({})).await;
    assert_eq!(same.json_with(200), scope, "an absent description is unchanged");
    assert!(same.header("location").is_empty());
    scope["description"] = json!("");
    assert_eq!(admin.ask("PUT", path, &json!({"description": ""})).await.json_with(200), scope);
    assert_eq!(admin.get(path).await.json_with(200), scope);
    let list = admin.get("/admin/scopes").await.json_with(200);
    assert!(list["items"].as_array().unwrap().contains(&scope), "{list}");
    // It is added to the role `admin`, whose tokens have it from the next login on.
    let of_admin = admin.get("/admin/roles/admin").await.json_with(200);
    assert!(of_admin["scopes"].as_array().unwrap().contains(&json!("items:read")));
    let login = admin.server.token(&Form::admin()).send().await.json_with(200);
    assert!(login["scope"].as_str().unwrap().split(' ').any(|scope| scope == "items:read"));
    let metadata = admin.server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    assert!(metadata["scopes_supported"].as_array().unwrap().contains(&json!("items:read")));
    let gone = admin.delete(path).await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    admin.get(path).await.problem(404, "not-found");
    admin.delete(path).await.problem(404, "not-found");
}

async fn roles_can_be_created_changed_and_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let path = "/admin/roles/reader";
    let body = json!({"description": "Reads", "scopes": ["users:read", "account", "users:read"]});
    let created = admin.ask("PUT", path, &body).await;
    let mut role = json!({
        "name": "reader", "description": "Reads", "scopes": ["account", "users:read"], "built_in": false,
        "created_at": "2026-01-31T12:00:00Z",
    });
    assert_eq!(created.json_with(201), role);
    assert_eq!((created.header("location"), created.header("cache-control")), (path, "no-store"));
    admin.server.advance(Duration::seconds(1));
    role["scopes"] = json!(["roles:read"]);
    let put = admin.ask("PUT", path, &json!({"scopes": ["roles:read"]})).await;
    assert_eq!(put.json_with(200), role, "an absent description is unchanged");
    assert!(put.header("location").is_empty());
    (role["scopes"], role["description"]) = (json!([]), json!("Nothing"));
    let put = admin.ask("PUT", path, &json!({"scopes": [], "description": "Nothing"})).await;
    assert_eq!(put.json_with(200), role);
    assert_eq!(admin.get(path).await.json_with(200), role);
    let list = admin.get("/admin/roles").await.json_with(200);
    assert!(list["items"].as_array().unwrap().contains(&role), "{list}");
    let gone = admin.delete(path).await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    admin.get(path).await.problem(404, "not-found");
    admin.delete(path).await.problem(404, "not-found");
}

async fn built_in_roles_and_scopes_cannot_be_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let before = admin.everything().await;
    for path in ["/admin/roles/admin", "/admin/roles/member", "/admin/scopes/account", "/admin/scopes/users:write"] {
        assert_eq!(admin.get(path).await.json_with(200)["built_in"], true);
        admin.delete(path).await.problem(409, "conflict");
    }
    admin.ask("PUT", "/admin/roles/admin", &json!({"scopes": ["account"]})).await.problem(409, "conflict");
    admin.ask("PUT", "/admin/roles/member", &json!({"scopes": ["users:read"]})).await.problem(409, "conflict");
    assert_eq!(admin.everything().await, before);
    // Their descriptions can be changed, and scopes can be added to `member`.
    let all = admin.get("/admin/roles/admin").await.json_with(200)["scopes"].clone();
    let put = admin.ask("PUT", "/admin/roles/admin", &json!({"scopes": all, "description": "Us"})).await;
    assert_eq!(put.json_with(200)["description"], "Us");
    let put = admin.ask("PUT", "/admin/roles/member", &json!({"scopes": ["account", "roles:read"]})).await;
    assert_eq!((&put.json_with(200)["built_in"], put.status), (&json!(true), 200));
    let put = admin.ask("PUT", "/admin/scopes/account", &json!({"description": "Oneself"})).await;
    assert_eq!(put.json_with(200)["built_in"], true);
    admin.user("maria", &[]).await;
    let maria = admin.server.login("maria", PASSWORD).await;
    assert_eq!(admin.server.get("/admin/roles").bearer(&maria).send().await.status, 200);
}

async fn invalid_names_and_bodies_are_refused(database: Database) {
    let admin = Admin::start(database).await;
    let before = admin.everything().await;
    let (long_role, long_scope) = ("a".repeat(64), "a".repeat(129));
    for name in ["A", "1a", "a_b", "a:b", "%C3%A1", "a%20b", "a%2Fb", "%00", &long_role] {
        admin
            .ask("PUT", &format!("/admin/roles/{name}"), &json!({"scopes": []}))
            .await
            .wrong_fields(&[("name", "format")]);
        admin.get(&format!("/admin/roles/{name}")).await.problem(404, "not-found");
        admin.delete(&format!("/admin/roles/{name}")).await.problem(404, "not-found");
    }
    for (name, code) in [
        ("a%20b", "format"),
        ("a%2Fb", "format"),
        ("a%22b", "format"),
        ("a%5Cb", "format"),
        ("%C3%A1", "format"),
        ("%00", "format"),
        (&long_scope, "length"),
    ] {
        admin.ask("PUT", &format!("/admin/scopes/{name}"), &json!({})).await.wrong_fields(&[("name", code)]);
        admin.get(&format!("/admin/scopes/{name}")).await.problem(404, "not-found");
        admin.delete(&format!("/admin/scopes/{name}")).await.problem(404, "not-found");
    }
    for (path, body, wrong) in [
        ("/admin/roles/r", json!({}), &[("scopes", "required")][..]),
        ("/admin/roles/r", json!({"scopes": null}), &[("scopes", "required")]),
        ("/admin/roles/r", json!({"scopes": "account"}), &[("scopes", "format")]),
        ("/admin/roles/r", json!({"scopes": ["a b"]}), &[("scopes", "format")]),
        ("/admin/roles/r", json!({"scopes": [""]}), &[("scopes", "format")]),
        ("/admin/roles/r", json!({"scopes": ["account", "nobodys"]}), &[("scopes", "unknown")]),
        ("/admin/roles/R", json!({}), &[("name", "format"), ("scopes", "required")]),
        ("/admin/roles/r", json!({"scopes": [], "description": "a\u{0}"}), &[("description", "format")]),
        (
            "/admin/roles/r",
            json!({"description": "a".repeat(501)}),
            &[("description", "length"), ("scopes", "required")],
        ),
        ("/admin/scopes/s", json!({"description": "a".repeat(501)}), &[("description", "length")]),
        ("/admin/scopes/a%20b", json!({"description": "a\u{0}"}), &[("name", "format"), ("description", "format")]),
    ] {
        admin.ask("PUT", path, &body).await.wrong_fields(wrong);
    }
    for path in ["/admin/roles/r", "/admin/scopes/s"] {
        for (content_type, body, status, kind) in [
            ("application/json", "", 400, "malformed-body"),
            ("application/json", "[]", 400, "malformed-body"),
            ("application/json", "{", 400, "malformed-body"),
            ("application/json", r#"{"name": "x"}"#, 400, "malformed-body"),
            ("application/json", r#"{"description": "x", "description": "x"}"#, 400, "malformed-body"),
            ("application/merge-patch+json", "{}", 415, "unsupported-media-type"),
            ("text/plain", "{}", 415, "unsupported-media-type"),
        ] {
            let request = admin.server.request("PUT", path).bearer(&admin.token).body(content_type, body);
            request.send().await.problem(status, kind);
        }
        let answer = admin.ask("POST", path, &json!({})).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), "GET, HEAD, PUT, DELETE");
    }
    assert_eq!(admin.everything().await, before);
    // All allowed characters, and the maximum lengths.
    for name in ["a!%23$%25&'()*+,-.:;<=>%3F@[]%5E_%60{|}~", &long_scope[1..]] {
        let path = format!("/admin/scopes/{name}");
        let created = admin.ask("PUT", &path, &json!({})).await;
        let scope = created.json_with(201);
        assert_eq!(admin.get(created.header("location")).await.json_with(200), scope);
        assert_eq!(admin.delete(&path).await.status, 204);
    }
    admin.ask("PUT", &format!("/admin/roles/{}", &long_role[1..]), &json!({"scopes": []})).await.json_with(201);
}

async fn deletion_removes_scopes_and_roles_from_their_holders(database: Database) {
    let mut admin = Admin::start(database).await;
    for scope in ["items", "items:read", "items:write"] {
        admin.ask("PUT", &format!("/admin/scopes/{scope}"), &json!({})).await.json_with(201);
    }
    // Tokens that were issued earlier do not have these scopes.
    admin.token = admin.server.admin().await;
    admin.role("keeper", &["items", "items:read", "items:write"]).await;
    let maria = admin.user("maria", &["keeper"]).await;
    let client = json!({
        "client_id": "shop", "name": "Shop", "type": "confidential", "grant_types": ["client_credentials"],
        "scopes": ["items", "items:read", "items:write"],
    });
    let client = admin.create_in("/admin/clients", &client).await;
    assert_eq!(admin.delete("/admin/scopes/items").await.status, 204);
    let left = json!(["items:read", "items:write"]);
    let scopes = async |path: &str| -> Value { admin.get(path).await.json_with(200)["scopes"].clone() };
    assert_eq!((scopes("/admin/roles/keeper").await, scopes(&client).await), (left.clone(), left));
    assert_eq!(scopes(&maria).await, json!(["account", "items:read", "items:write"]));
    assert!(!scopes("/admin/roles/admin").await.as_array().unwrap().contains(&json!("items")));
    let gone = Form::password("maria", PASSWORD).and("scope", "items");
    admin.server.token(&gone).send().await.oauth_error(400, "invalid_scope");
    // A new scope with this name is granted only to holders of every scope.
    admin.ask("PUT", "/admin/scopes/items", &json!({})).await.json_with(201);
    assert_eq!(scopes(&maria).await, json!(["account", "items:read", "items:write"]));

    assert_eq!(admin.delete("/admin/roles/keeper").await.status, 204);
    let user = admin.get(&maria).await.json_with(200);
    assert_eq!((&user["roles"], &user["scopes"]), (&json!(["member"]), &json!(["account"])));
    admin.role("keeper", &["items"]).await;
    assert_eq!(scopes(&maria).await, json!(["account"]));
}
