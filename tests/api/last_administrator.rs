//! Scopes that are similar to `users:write` do not make an administrator.

use serde_json::json;

use crate::harness::{Admin, Database, PASSWORD, on_both_engines};

on_both_engines!(similar_scopes_make_no_administrator);

/// Scope-tokens (RFC 6749 §3.3) are case-sensitive: each of these is a scope of its own, which grantd does not know.
const SIMILAR: [&str; 5] = ["USERS:WRITE", "Users:write", "users:writes", "superusers:write", "users_write"];

async fn similar_scopes_make_no_administrator(database: Database) {
    let mut admin = Admin::start(database).await;
    for scope in SIMILAR {
        admin.ask("PUT", &format!("/admin/scopes/{scope}"), &json!({})).await.json_with(201);
    }
    // The role `admin` has the new scopes, and so has a new token.
    admin.token = admin.server.admin().await;
    admin.role("similar", &SIMILAR).await;
    admin.user("maria", &["similar"]).await;
    let found = admin.get("/admin/users?q=admin").await.json_with(200);
    let own = format!("/admin/users/{}", found["items"][0]["id"].as_str().unwrap());
    let before = admin.everything().await;
    for (method, path, body) in [
        ("PUT", format!("{own}/roles"), json!({"roles": []})),
        ("PUT", format!("{own}/roles"), json!({"roles": ["similar"]})),
        ("PATCH", own.clone(), json!({"disabled": true})),
        ("DELETE", own, json!({})),
    ] {
        let answer = admin.ask(method, &path, &body).await;
        assert_eq!(answer.status, 409, "{method} {path} {body}: {}", answer.text());
        answer.problem(409, "conflict");
    }
    assert_eq!(admin.everything().await, before);
    // The same for the role that has `users:write`.
    admin.role("boss", &["roles:write", "users:write"]).await;
    admin.user("boss", &["boss"]).await;
    admin.server.database().execute("DELETE FROM user_roles WHERE role = 'admin'").await.unwrap();
    let boss = admin.server.login("boss", PASSWORD).await;
    for (method, body) in [("PUT", json!({"scopes": ["roles:write"]})), ("DELETE", json!({}))] {
        let answer = admin.ask_as(&boss, method, "/admin/roles/boss", &body).await;
        assert_eq!(answer.status, 409, "{method}: {}", answer.text());
    }
}
