//! A request succeeds once its change is committed, even if the server then fails to sync its caches.

use serde_json::{Value, json};

use crate::harness::{Admin, Answer, Database, Form, PASSWORD, on_both_engines};

on_both_engines!(
    creating_a_client_returns_its_secret,
    rotating_a_secret_returns_it,
    client_changes_succeed,
    user_changes_succeed,
    role_and_scope_changes_succeed,
    revocations_succeed,
);

/// Starts a server whose sync fails after an `event` such as `INSERT ON clients`: a second, retired key has a broken JWK, and
/// a trigger makes all servers read the keys again.
async fn start(database: Database, event: &str) -> Admin {
    let admin = Admin::start(database).await;
    admin.role("reader", &["users:read"]).await;
    admin.user("maria", &["reader"]).await;
    let client = client("machine");
    admin.ask("POST", "/admin/clients", &client).await.json_with(201);
    let database = admin.server.database();
    // Any time in the future, such as that of a session.
    let changed = [
        ("kid", "'other'"),
        ("public_jwk", "'broken'"),
        ("state", "'retired'"),
        ("expires_at", "(SELECT expires_at FROM sessions LIMIT 1)"),
    ];
    database.copy_row("signing_keys", "r.state = 'active'", 1, &changed).await;
    let note = "UPDATE changes SET signing_keys = signing_keys + 1";
    if database.is_postgres() {
        let function = format!(
            "CREATE FUNCTION break_sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note}; RETURN NULL; END $$"
        );
        database.execute(&function).await.unwrap();
        let trigger = format!("CREATE TRIGGER break_sync AFTER {event} FOR EACH ROW EXECUTE FUNCTION break_sync()");
        database.execute(&trigger).await.unwrap();
    } else {
        let trigger = format!("CREATE TRIGGER break_sync AFTER {event} BEGIN {note}; END");
        database.execute(&trigger).await.unwrap();
    }
    admin
}

fn client(id: &str) -> Value {
    json!({
        "client_id": id, "name": "A client", "type": "confidential", "grant_types": ["client_credentials"],
        "scopes": ["account"],
    })
}

fn machine() -> Form {
    Form::of(&[("grant_type", "client_credentials")])
}

#[track_caller]
fn succeeds(what: &str, answer: &Answer) {
    assert!((200..300).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
}

async fn creating_a_client_returns_its_secret(database: Database) {
    let admin = start(database, "INSERT ON clients").await;
    let created = admin.ask("POST", "/admin/clients", &client("shop")).await;
    let secret = created.json_with(201)["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), "/admin/clients/shop");
    admin.server.token(&machine()).basic("shop", &secret).send().await.json_with(200);
    admin.ask("POST", "/admin/clients", &client("shop")).await.problem(409, "conflict");
}

async fn rotating_a_secret_returns_it(database: Database) {
    let admin = start(database, "UPDATE ON clients").await;
    let rotated = admin.ask("POST", "/admin/clients/machine/secret", &json!({})).await.json_with(200);
    let secret = rotated["client_secret"].as_str().unwrap();
    admin.server.token(&machine()).basic("machine", secret).send().await.json_with(200);
}

async fn client_changes_succeed(database: Database) {
    let admin = start(database, "UPDATE ON clients").await;
    let path = "/admin/clients/machine";
    let patched = admin.ask("PATCH", path, &json!({"name": "Another name"})).await.json_with(200);
    assert_eq!(patched["name"], "Another name");
    let disabled = admin.ask("PATCH", path, &json!({"disabled": true})).await.json_with(200);
    assert_eq!(disabled["disabled"], true);
    succeeds("deletion", &admin.delete(path).await);
    admin.get(path).await.problem(404, "not-found");
}

async fn user_changes_succeed(database: Database) {
    let admin = start(database, "UPDATE OF display_name, disabled, password_hash ON users").await;
    let users = admin.get("/admin/users?q=maria").await.json_with(200);
    let path = format!("/admin/users/{}", users["items"][0]["id"].as_str().unwrap());
    for (method, path, body) in [
        ("PATCH", path.clone(), json!({"display_name": "Maria"})),
        ("PUT", format!("{path}/password"), json!({"password": "another password"})),
        ("PUT", format!("{path}/roles"), json!({"roles": []})),
        ("PATCH", path.clone(), json!({"disabled": true})),
        ("DELETE", path.clone(), json!({})),
        ("PATCH", "/users/me".to_owned(), json!({"display_name": "Admin"})),
    ] {
        succeeds(&format!("{method} {path}"), &admin.ask(method, &path, &body).await);
    }
}

async fn role_and_scope_changes_succeed(database: Database) {
    let admin = start(database, "UPDATE ON roles").await;
    for (method, path, body) in [
        ("PUT", "/admin/roles/reader", json!({"scopes": ["users:read", "roles:read"]})),
        ("PUT", "/admin/scopes/items:read", json!({})),
        ("DELETE", "/admin/scopes/items:read", json!({})),
        ("DELETE", "/admin/roles/reader", json!({})),
    ] {
        // A new token, since only a caller with the scope can delete it.
        let token = admin.server.admin().await;
        succeeds(&format!("{method} {path}"), &admin.ask_as(&token, method, path, &body).await);
    }
}

async fn revocations_succeed(database: Database) {
    let admin = start(database, "INSERT ON revocations").await;
    let server = &admin.server;
    let token = server.login("maria", PASSWORD).await;
    let revoke = server.request("POST", "/revoke").form(&Form::of(&[("token", &token)])).send().await;
    succeeds("revocation", &revoke);
    // The revocation takes effect on this server at once, although the sync failed.
    server.get("/verify").bearer(&token).send().await.problem(401, "invalid-token");
    let users = admin.get("/admin/users?q=maria").await.json_with(200);
    let sessions = format!("/admin/users/{}/sessions", users["items"][0]["id"].as_str().unwrap());
    let token = server.login("maria", PASSWORD).await;
    succeeds("sessions", &admin.delete(&sessions).await);
    server.get("/verify").bearer(&token).send().await.problem(401, "invalid-token");
}
