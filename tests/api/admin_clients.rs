//! `/admin/clients`: requests, responses with all members, and validation errors.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    audit::page,
    harness::{Admin, Database, Form, PASSWORD, on_both_engines},
};

on_both_engines!(
    clients_can_be_created_changed_and_deleted,
    a_public_client_has_no_secret,
    all_invalid_fields_are_reported_together,
    malformed_bodies_are_refused,
    a_patch_distinguishes_null_from_absent,
    secrets_can_be_rotated,
    the_default_client_can_be_disabled_but_not_deleted,
    unknown_ids_are_not_found,
);

const EC_KEY: &str = r#"{"kty": "EC", "crv": "P-256", "kid": "k", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

fn shop() -> Value {
    json!({
        "client_id": "shop", "name": "Shop", "type": "confidential", "grant_types": ["client_credentials"],
        "scopes": ["account"],
    })
}

fn credentials() -> Form {
    Form::of(&[("grant_type", "client_credentials")])
}

async fn clients_can_be_created_changed_and_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let key: Value = serde_json::from_str(EC_KEY).unwrap();
    let mut client = json!({
        "client_id": "shop", "name": "Shop", "type": "confidential",
        "grant_types": ["password", "refresh_token", "client_credentials"], "scopes": ["account", "users:read"],
        "audiences": ["https://api.example.com", "orders"], "access_token_ttl": "5m", "jwks": {"keys": [key]},
        "forwards_address": true,
    });
    let answer = admin.ask("POST", "/admin/clients", &client).await;
    let mut created = answer.json_with(201);
    assert_eq!((answer.header("location"), answer.header("cache-control")), ("/admin/clients/shop", "no-store"));
    let secret = created.as_object_mut().unwrap().remove("client_secret").unwrap();
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("grs_"));
    (client["disabled"], client["created_at"]) = (json!(false), json!("2026-01-31T12:00:00Z"));
    client["updated_at"] = json!("2026-01-31T12:00:00Z");
    assert_eq!(created, client);
    // The secret is shown only once.
    let answer = admin.get("/admin/clients/shop").await;
    assert_eq!(answer.json_with(200), client);
    let list = admin.get("/admin/clients").await;
    assert!(list.json_with(200)["items"].as_array().unwrap().contains(&client));
    assert!(!list.text().contains("grs_") && !list.text().contains("secret"), "{}", list.text());
    let token = admin.server.token(&credentials()).basic("shop", secret).send().await.json_with(200);
    assert_eq!((&token["expires_in"], &token["scope"]), (&json!(300), &json!("account users:read")));

    admin.server.advance(Duration::seconds(1));
    let patch = json!({
        "name": "The shop", "grant_types": ["client_credentials"], "scopes": ["users:read"], "audiences": ["x"],
        "access_token_ttl": "1h", "jwks": null, "forwards_address": false, "disabled": true,
    });
    for (member, value) in patch.as_object().unwrap() {
        client[member] = value.clone();
    }
    client["updated_at"] = json!("2026-01-31T12:00:01Z");
    assert_eq!(admin.ask("PATCH", "/admin/clients/shop", &patch).await.json_with(200), client);
    let mut changed: Vec<_> = patch.as_object().unwrap().keys().filter(|member| *member != "disabled").collect();
    changed.sort();
    let events = page(&admin.server, &admin.token, "kind=client.changed").await;
    let mut recorded: Vec<String> = serde_json::from_value(events["items"][0]["details"]["changed"].clone()).unwrap();
    recorded.sort();
    assert_eq!(recorded.iter().collect::<Vec<_>>(), changed);
    let gone = admin.delete("/admin/clients/shop").await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    admin.get("/admin/clients/shop").await.problem(404, "not-found");
    admin.server.token(&credentials()).basic("shop", secret).send().await.oauth_error(401, "invalid_client");
    // A new client with this id does not accept the old secret.
    admin.create_in("/admin/clients", &shop()).await;
    admin.ask("POST", "/admin/clients", &shop()).await.problem(409, "conflict");
    admin.server.token(&credentials()).basic("shop", secret).send().await.oauth_error(401, "invalid_client");
}

async fn a_public_client_has_no_secret(database: Database) {
    let admin = Admin::start(database).await;
    let body = json!({"name": "App", "type": "public", "grant_types": ["password"], "scopes": [], "audiences": null});
    let answer = admin.ask("POST", "/admin/clients", &body).await;
    let created = answer.json_with(201);
    let id = created["client_id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/admin/clients/{id}"));
    assert_eq!(
        created,
        json!({
            "client_id": id, "name": "App", "type": "public", "grant_types": ["password"], "scopes": [],
            "audiences": [], "access_token_ttl": null, "jwks": null, "forwards_address": false, "disabled": false,
            "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00Z",
        })
    );
    let path = format!("/admin/clients/{id}");
    admin.ask("POST", &format!("{path}/secret"), &json!({})).await.problem(409, "conflict");
    let key: Value = serde_json::from_str(EC_KEY).unwrap();
    let wrong = json!({"grant_types": ["client_credentials"], "jwks": {"keys": [key]}, "forwards_address": true});
    let fields = [("grant_types", "format"), ("jwks", "format"), ("forwards_address", "format")];
    admin.ask("PATCH", &path, &wrong).await.wrong_fields(&fields);
    admin.ask("PATCH", &path, &json!({"type": "confidential"})).await.problem(400, "malformed-body");
    assert_eq!(admin.get(&path).await.json_with(200), created);
}

async fn all_invalid_fields_are_reported_together(database: Database) {
    let admin = Admin::start(database).await;
    let before = admin.everything().await;
    let mut private: Value = serde_json::from_str(EC_KEY).unwrap();
    private["d"] = json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    let with = |member: &str, value: Value| {
        let mut body = shop();
        body[member] = value;
        body
    };
    for (body, wrong) in [
        (
            json!({}),
            &[("name", "required"), ("type", "required"), ("grant_types", "required"), ("scopes", "required")][..],
        ),
        (
            json!({
                "client_id": "A", "name": "", "type": "secret", "grant_types": ["implicit"], "scopes": ["a b"],
                "audiences": ["a b"], "access_token_ttl": "soon", "jwks": {"keys": []},
            }),
            &[
                ("client_id", "format"),
                ("name", "length"),
                ("type", "unknown"),
                ("grant_types", "unknown"),
                ("scopes", "format"),
                ("audiences", "format"),
                ("access_token_ttl", "format"),
                ("jwks", "format"),
            ],
        ),
        (
            json!({
                "name": "a".repeat(201), "type": "public", "grant_types": ["client_credentials"], "scopes": [],
                "audiences": [""], "access_token_ttl": "366d", "jwks": {"keys": [private]},
                "forwards_address": true,
            }),
            &[
                ("name", "length"),
                ("grant_types", "format"),
                ("audiences", "length"),
                ("access_token_ttl", "length"),
                ("jwks", "format"),
                ("forwards_address", "format"),
            ],
        ),
        (with("client_id", json!("019c0000-0000-7000-8000-000000000000")), &[("client_id", "format")]),
        (with("client_id", json!("fa7b1d04-cb31-4ea2-b1d2-2f1d3bbd4e2a")), &[("client_id", "format")]),
        (with("client_id", json!("a")), &[("client_id", "format")]),
        (with("client_id", json!("a".repeat(64))), &[("client_id", "format")]),
        (with("name", json!("a\u{0}")), &[("name", "format")]),
        (with("grant_types", json!([])), &[("grant_types", "required")]),
        (with("scopes", json!(["account", "nobodys"])), &[("scopes", "unknown")]),
        (with("access_token_ttl", json!("0s")), &[("access_token_ttl", "format")]),
        (with("access_token_ttl", json!(900)), &[("access_token_ttl", "format")]),
        (with("jwks", json!([])), &[("jwks", "format")]),
        (with("forwards_address", json!("yes")), &[("forwards_address", "format")]),
        (with("jwks", json!({"keys": [private]})), &[("jwks", "format")]),
    ] {
        admin.ask("POST", "/admin/clients", &body).await.wrong_fields(wrong);
    }
    assert_eq!(admin.everything().await, before);
    let path = admin.create_in("/admin/clients", &shop()).await;
    let before = admin.everything().await;
    let all_null =
        json!({"name": null, "grant_types": null, "scopes": null, "forwards_address": null, "disabled": null});
    let wrong = ["name", "grant_types", "scopes", "forwards_address", "disabled"].map(|member| (member, "required"));
    admin.ask("PATCH", &path, &all_null).await.wrong_fields(&wrong);
    let all_wrong = json!({
        "name": "", "grant_types": ["x"], "scopes": ["a\"b"], "audiences": ["\u{e1}"], "access_token_ttl": "1",
        "jwks": 5,
    });
    let wrong = [
        ("name", "length"),
        ("grant_types", "unknown"),
        ("scopes", "format"),
        ("audiences", "format"),
        ("access_token_ttl", "format"),
        ("jwks", "format"),
    ];
    admin.ask("PATCH", &path, &all_wrong).await.wrong_fields(&wrong);
    admin.ask("PATCH", &path, &json!({"scopes": ["nobodys"]})).await.wrong_fields(&[("scopes", "unknown")]);
    for wrong in [json!("soon"), json!(5), json!("-1s")] {
        let answer = admin.ask("POST", &format!("{path}/secret"), &json!({"old_valid_for": wrong})).await;
        answer.wrong_fields(&[("old_valid_for", "format")]);
    }
    assert_eq!(admin.everything().await, before);
}

async fn malformed_bodies_are_refused(database: Database) {
    let admin = Admin::start(database).await;
    let path = admin.create_in("/admin/clients", &shop()).await;
    let before = admin.everything().await;
    for (method, path) in [("POST", "/admin/clients"), ("PATCH", &path), ("POST", &format!("{path}/secret"))] {
        for (content_type, body, status, kind) in [
            ("application/json", "", 400, "malformed-body"),
            ("application/json", "{broken", 400, "malformed-body"),
            ("application/json", "[]", 400, "malformed-body"),
            ("application/json", r#"{"client_secret": "grs_x"}"#, 400, "malformed-body"),
            ("application/json", r#"{"name": "a", "name": "b"}"#, 400, "malformed-body"),
            ("application/json", r#"{"old_valid_for": "1s", "old_valid_for": "1s"}"#, 400, "malformed-body"),
            ("text/plain", "{}", 415, "unsupported-media-type"),
        ] {
            let request = admin.server.request(method, path).bearer(&admin.token).body(content_type, body);
            request.send().await.problem(status, kind);
        }
    }
    assert_eq!(admin.everything().await, before);
}

async fn a_patch_distinguishes_null_from_absent(database: Database) {
    let admin = Admin::start(database).await;
    let mut body = shop();
    (body["audiences"], body["access_token_ttl"]) = (json!(["x"]), json!("1m"));
    let path = admin.create_in("/admin/clients", &body).await;
    let before = admin.get(&path).await.json_with(200);
    admin.server.advance(Duration::seconds(1));
    assert_eq!(admin.ask("PATCH", &path, &json!({})).await.json_with(200), before);
    let request = admin.server.request("PATCH", &path).bearer(&admin.token);
    let patched = request.body("application/merge-patch+json", r#"{"access_token_ttl": null}"#).send().await;
    let patched = patched.json_with(200);
    assert_eq!((&patched["access_token_ttl"], &patched["audiences"]), (&Value::Null, &json!(["x"])));
    let patched = admin.ask("PATCH", &path, &json!({"audiences": null})).await.json_with(200);
    assert_eq!(patched["audiences"], json!([]));
}

async fn secrets_can_be_rotated(database: Database) {
    let admin = Admin::start(database).await;
    let created = admin.ask("POST", "/admin/clients", &shop()).await.json_with(201);
    let first = created["client_secret"].as_str().unwrap().to_owned();
    let works = async |secret: &str| {
        let status = admin.server.token(&credentials()).basic("shop", secret).send().await.status;
        assert!([200, 401].contains(&status));
        status == 200
    };
    let rotate = async |body: Value| -> String {
        let answer = admin.ask("POST", "/admin/clients/shop/secret", &body).await;
        let secret = answer.json_with(200);
        assert_eq!((secret.as_object().unwrap().len(), answer.header("cache-control")), (1, "no-store"));
        secret["client_secret"].as_str().unwrap().to_owned()
    };
    let second = rotate(json!({"old_valid_for": "1h"})).await;
    assert!(works(&first).await && works(&second).await);
    admin.server.advance(Duration::minutes(59));
    assert!(works(&first).await);
    admin.server.advance(Duration::minutes(1));
    assert!(!works(&first).await && works(&second).await);
    let admin_again = admin.server.admin().await;
    let third = admin.ask_as(&admin_again, "POST", "/admin/clients/shop/secret", &json!({})).await.json_with(200);
    assert!(!works(&second).await && works(third["client_secret"].as_str().unwrap()).await);
    let fourth = json!({"old_valid_for": "0s"});
    admin.ask_as(&admin_again, "POST", "/admin/clients/shop/secret", &fourth).await.json_with(200);
    assert!(!works(third["client_secret"].as_str().unwrap()).await);
}

async fn the_default_client_can_be_disabled_but_not_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let path = "/admin/clients/default";
    admin.delete(path).await.problem(409, "conflict");
    assert_eq!(admin.ask("PATCH", path, &json!({"disabled": true})).await.json_with(200)["disabled"], true);
    admin.server.token(&Form::admin()).send().await.oauth_error(401, "invalid_client");
    // Its tokens are revoked, including the one of this request.
    admin.get(path).await.problem(401, "invalid-token");
}

async fn unknown_ids_are_not_found(database: Database) {
    let admin = Admin::start(database).await;
    admin.user("maria", &[]).await;
    for id in ["nobodys", "A", "%00", "019c0000-0000-7000-8000-000000000000", "%F0%9F%A6%80"] {
        let path = format!("/admin/clients/{id}");
        admin.get(&path).await.problem(404, "not-found");
        admin.delete(&path).await.problem(404, "not-found");
        admin.ask("PATCH", &path, &json!({})).await.problem(404, "not-found");
        admin.ask("POST", &format!("{path}/secret"), &json!({})).await.problem(404, "not-found");
    }
    admin.server.login("maria", PASSWORD).await;
}
