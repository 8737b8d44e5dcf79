//! API keys: what they can do, and for how long.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    cli::{failure, json_of, set_up},
    harness::{Admin, Answer, Database, NewClient, PASSWORD, TestServer, grantd, on_both_engines},
    token::claims,
};

on_both_engines!(
    a_key_acts_for_its_owner,
    a_key_has_only_the_scopes_that_its_owner_has,
    a_key_neither_makes_keys_nor_changes_passwords_and_emails,
    two_credentials_are_refused,
    a_typo_costs_no_statement,
    a_key_expires,
    the_last_use_is_written_once_a_minute,
    a_key_of_a_disabled_user_is_refused_until_the_user_is_enabled,
    a_key_is_for_its_audiences,
    invalid_keys_are_refused_field_by_field,
    a_user_has_at_most_100_live_keys,
    administrators_manage_the_keys_of_others_within_their_own_scopes,
    deletion_is_in_the_feed,
    introspection_describes_a_key,
    a_key_in_the_query_needs_the_setting,
    operators_manage_keys_on_the_command_line,
);

/// Creates a key for the user of a token, and returns the answer.
async fn create(server: &TestServer, token: &str, body: Value) -> Value {
    server.request("POST", "/users/me/api-keys").bearer(token).json(&body).send().await.json_with(201)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A server, the token of the user `maria` with these roles, and a key of hers with these scopes.
async fn with_key(database: Database, roles: &[&str], scopes: &[&str]) -> (TestServer, String, Value) {
    let server = TestServer::start(database).await;
    server.create_user("maria", roles).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, json!({"name": "a script", "scopes": scopes})).await;
    (server, token, key)
}

async fn use_key(server: &TestServer, key: &Value, path: &str) -> Answer {
    server.get(path).api_key(text(&key["key"])).send().await
}

async fn a_key_acts_for_its_owner(database: Database) {
    let (server, token, key) = with_key(database, &[], &["account"]).await;
    let issuer = server.url().to_owned();
    let shown = json!({
        "id": key["id"], "name": "a script", "scopes": ["account"], "audiences": [issuer],
        "created_at": "2026-01-31T12:00:00Z", "expires_at": null, "last_used_at": null,
    });
    let mut with_secret = shown.clone();
    with_secret["key"] = key["key"].clone();
    assert_eq!(key, with_secret);
    assert!(text(&key["key"]).starts_with("grk_") && text(&key["key"]).len() == 53);
    let mine = || server.get("/users/me");
    for request in [mine().api_key(text(&key["key"])), mine().bearer(text(&key["key"]))] {
        assert_eq!(request.send().await.json_with(200)["username"], "maria");
    }
    // It is listed without the secret, and its use is noted.
    let list = server.get("/users/me/api-keys").bearer(&token).send().await.json_with(200);
    let mut used = shown;
    used["last_used_at"] = json!("2026-01-31T12:00:00Z");
    assert_eq!(list, json!({"items": [used], "next_cursor": null}));
    let path = format!("/users/me/api-keys/{}", text(&key["id"]));
    assert_eq!(server.request("DELETE", &path).bearer(&token).send().await.status, 204);
    let refused = use_key(&server, &key, "/users/me").await;
    refused.problem(401, "invalid-token");
    assert!(refused.header("www-authenticate").contains("unknown, or was deleted"));
    server.request("DELETE", &path).bearer(&token).send().await.problem(404, "not-found");
    // Events name the owner and how the actor authenticated.
    let admin = server.admin().await;
    let events = server.get("/admin/audit-events?kind=api_key.created").bearer(&admin).send().await.json_with(200);
    assert_eq!(events["items"][0]["details"]["api_key"], key["id"]);
    assert!(!events.to_string().contains(text(&key["key"])));
}

async fn a_key_has_only_the_scopes_that_its_owner_has(database: Database) {
    let (server, _, key) = with_key(database, &["admin"], &["account", "users:read", "audit:read"]).await;
    assert_eq!(use_key(&server, &key, "/admin/users").await.status, 200);
    use_key(&server, &key, "/admin/clients").await.problem(403, "insufficient-scope");
    let admin = server.admin().await;
    let maria = server.get("/admin/users?q=maria").bearer(&admin).send().await.json_with(200)["items"][0].clone();
    let roles = format!("/admin/users/{}/roles", text(&maria["id"]));
    let answer = server.request("PUT", &roles).bearer(&admin).json(&json!({"roles": []})).send().await;
    assert_eq!(answer.status, 200);
    use_key(&server, &key, "/admin/users").await.problem(403, "insufficient-scope");
    assert_eq!(use_key(&server, &key, "/users/me").await.status, 200);
    let scope = use_key(&server, &key, "/verify").await;
    assert_eq!((scope.status, scope.header("x-auth-scope")), (204, "account"));
}

async fn a_key_neither_makes_keys_nor_changes_passwords_and_emails(database: Database) {
    let (server, _, key) = with_key(database, &["admin"], &["account", "users:write", "users:read"]).await;
    let other = server.create_user("otto", &[]).await.id;
    let new = json!({"name": "another", "scopes": ["account"]});
    let own = format!("/users/me/api-keys/{}", text(&key["id"]));
    for (method, path, body) in [
        ("POST", "/users/me/api-keys", new.clone()),
        ("POST", &*format!("/admin/users/{other}/api-keys"), new),
        ("DELETE", &own, json!({})),
        ("DELETE", &format!("/admin/users/{other}/api-keys/{}", text(&key["id"])), json!({})),
        ("PUT", "/users/me/password", json!({"current_password": PASSWORD, "new_password": "staple and more"})),
        ("PUT", &format!("/admin/users/{other}/password"), json!({"password": "staple and more"})),
        ("POST", "/admin/users", json!({"username": "new", "password": "staple and more"})),
        ("PATCH", "/users/me", json!({"email": "new@example.com"})),
        ("PATCH", "/users/me", json!({"email": null})),
        ("PATCH", &format!("/admin/users/{other}"), json!({"email": "new@example.com"})),
    ] {
        let answer = server.request(method, path).api_key(text(&key["key"])).json(&body).send().await;
        assert_eq!(answer.problem(403, "forbidden")["status"], 403, "{method} {path}");
    }
    // Other changes are recorded with the key.
    let patch = json!({"display_name": "Mária"});
    let answer = server.request("PATCH", "/users/me").api_key(text(&key["key"])).json(&patch).send().await;
    assert_eq!(answer.json_with(200)["display_name"], "Mária");
    let admin = server.admin().await;
    let events = server.get("/admin/audit-events?kind=user.changed").bearer(&admin).send().await.json_with(200);
    let details = &events["items"][0]["details"];
    assert_eq!((&details["method"], &details["authenticated_by"]), (&json!("api_key"), &key["id"]));
}

async fn two_credentials_are_refused(database: Database) {
    let (server, token, key) = with_key(database, &[], &["account"]).await;
    let key = text(&key["key"]);
    for request in [
        server.get("/users/me").bearer(&token).api_key(key),
        server.get("/users/me").bearer(key).api_key(key),
        server.get("/users/me").basic_user("maria", PASSWORD).api_key(key),
        server.get("/users/me").api_key(key).api_key(key),
        server.get("/users/me").bearer(&token).basic_user("maria", PASSWORD),
        server.get("/verify").bearer(&token).api_key(key),
    ] {
        request.send().await.problem(400, "invalid-request");
    }
    // Without the setting, a key in the query is no credential.
    assert_eq!(server.get(&format!("/users/me?api_key={key}")).bearer(&token).send().await.status, 200);
}

async fn a_typo_costs_no_statement(database: Database) {
    let (server, _, key) = with_key(database, &[], &["account"]).await;
    let key = text(&key["key"]);
    let last = if key.ends_with('0') { '1' } else { '0' };
    let typo = format!("{}{last}", &key[..key.len() - 1]);
    let before = server.app.store.statements_run();
    for wrong in [&*typo, "grk_", "grk_x", "x", &key[1..]] {
        let answer = server.get("/users/me").api_key(wrong).send().await;
        answer.problem(401, "invalid-token");
        assert!(answer.header("www-authenticate").contains("malformed"), "{wrong}");
    }
    // In UTF-8, and in no encoding.
    for wrong in [&[b"grk_", "\u{e4}".as_bytes()].concat()[..], &[key.as_bytes(), b"\xff"].concat()] {
        let answer = server.get("/users/me").header("X-API-Key", wrong).send().await;
        answer.problem(401, "invalid-token");
        assert!(answer.header("www-authenticate").contains("API key"));
    }
    assert_eq!(server.app.store.statements_run(), before);
}

async fn a_key_expires(database: Database) {
    let (server, token, _) = with_key(database, &[], &["account"]).await;
    let key = create(
        &server,
        &token,
        json!({"name": "short", "scopes": ["account"], "expires_at": "2026-01-31T12:10:00Z", "audiences": null}),
    )
    .await;
    assert_eq!(key["expires_at"], "2026-01-31T12:10:00Z");
    assert_eq!(use_key(&server, &key, "/users/me").await.status, 200);
    server.advance(Duration::minutes(10));
    let refused = use_key(&server, &key, "/users/me").await;
    refused.problem(401, "invalid-token");
    assert!(refused.header("www-authenticate").contains("expired"));
}

async fn the_last_use_is_written_once_a_minute(database: Database) {
    let (server, token, key) = with_key(database, &[], &["account"]).await;
    let last_used = async || {
        let list = server.get("/users/me/api-keys").bearer(&token).send().await.json_with(200);
        list["items"][0]["last_used_at"].as_str().map(str::to_owned)
    };
    assert_eq!(last_used().await, None);
    for (seconds, expected) in [(0, "12:00:00"), (59, "12:00:00"), (1, "12:01:00")] {
        server.advance(Duration::seconds(seconds));
        assert_eq!(use_key(&server, &key, "/users/me").await.status, 200);
        assert_eq!(last_used().await.unwrap(), format!("2026-01-31T{expected}Z"));
    }
}

async fn a_key_of_a_disabled_user_is_refused_until_the_user_is_enabled(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    let key = create(&server, &token, json!({"name": "a script", "scopes": ["account"]})).await;
    server.set_disabled(&maria, true).await;
    for path in ["/users/me", "/verify"] {
        use_key(&server, &key, path).await.problem(401, "invalid-token");
    }
    server.set_disabled(&maria, false).await;
    assert_eq!(use_key(&server, &key, "/users/me").await.status, 200);
}

async fn a_key_is_for_its_audiences(database: Database) {
    let (server, token, own) = with_key(database, &[], &["account"]).await;
    let items = "https://items.example.com";
    let key = create(&server, &token, json!({"name": "items", "scopes": ["account"], "audiences": [items]})).await;
    let refused = use_key(&server, &key, "/users/me").await;
    refused.problem(401, "invalid-token");
    assert!(refused.header("www-authenticate").contains("another audience"));
    let query = format!("/verify?audience={items}");
    assert_eq!(use_key(&server, &key, &query).await.status, 204);
    use_key(&server, &own, &query).await.problem(401, "invalid-token");
    let answer = use_key(&server, &own, "/verify").await;
    assert_eq!((answer.status, answer.header("x-auth-username")), (204, "maria"));
    assert!(answer.headers_named("x-auth-session").is_empty() && answer.headers_named("x-auth-client").is_empty());
}

async fn invalid_keys_are_refused_field_by_field(database: Database) {
    let (server, token, _) = with_key(database, &[], &["account"]).await;
    let good = || json!({"name": "a script", "scopes": ["account"]});
    let with = |name: &str, value: Value| {
        let mut body = good();
        body[name] = value;
        body
    };
    for (body, fields) in [
        (json!({}), &[("name", "required"), ("scopes", "required")][..]),
        (with("name", json!("")), &[("name", "length")]),
        (with("name", json!("x".repeat(101))), &[("name", "length")]),
        (with("scopes", json!([])), &[("scopes", "required")]),
        (with("scopes", json!(["nothing:here"])), &[("scopes", "unknown")]),
        (with("scopes", json!(["two words"])), &[("scopes", "format")]),
        (with("audiences", json!(["items"])), &[("audiences", "format")]),
        (with("audiences", json!(vec!["https://a.example"; 11])), &[("audiences", "length")]),
        (with("expires_at", json!("2026-01-31T12:00:00Z")), &[("expires_at", "format")]),
        (with("expires_at", json!("tomorrow")), &[("expires_at", "format")]),
        (with("expires_at", json!("9999-12-31T23:59:59-23:59")), &[("expires_at", "format")]),
    ] {
        let answer = server.request("POST", "/users/me/api-keys").bearer(&token).json(&body).send().await;
        answer.wrong_fields(fields);
    }
    // What exists and is not had is forbidden.
    let body = with("scopes", json!(["account", "users:read"]));
    let answer = server.request("POST", "/users/me/api-keys").bearer(&token).json(&body).send().await;
    answer.problem(403, "insufficient-scope");
    // Also where the owner has it and the token does not.
    server.create_user("boss", &["admin"]).await;
    let narrow = server.login_for("boss", PASSWORD, "account").await;
    let answer = server.request("POST", "/users/me/api-keys").bearer(&narrow).json(&body).send().await;
    answer.problem(403, "insufficient-scope");
    // Also as an administrator of the own account.
    let boss = server.login_for("boss", PASSWORD, "users:write").await;
    let id = claims(&boss)["sub"].as_str().unwrap().to_owned();
    let path = format!("/admin/users/{id}/api-keys");
    server.request("POST", &path).bearer(&boss).json(&good()).send().await.problem(403, "insufficient-scope");
    let unknown = with("more", json!(1));
    let answer = server.request("POST", "/users/me/api-keys").bearer(&token).json(&unknown).send().await;
    answer.problem(400, "malformed-body");
}

async fn a_user_has_at_most_100_live_keys(database: Database) {
    let (server, token, _) = with_key(database, &[], &["account"]).await;
    let body = json!({"name": "short", "scopes": ["account"], "expires_at": "2026-01-31T12:01:00Z"});
    for _ in 1..100 {
        create(&server, &token, body.clone()).await;
    }
    let one_more = async || server.request("POST", "/users/me/api-keys").bearer(&token).json(&body).send().await;
    one_more().await.problem(409, "conflict");
    let first = server.get("/users/me/api-keys?limit=60").bearer(&token).send().await.json_with(200);
    let cursor = text(&first["next_cursor"]).to_owned();
    let rest = server.get(&format!("/users/me/api-keys?cursor={cursor}")).bearer(&token).send().await.json_with(200);
    assert_eq!(first["items"].as_array().unwrap().len() + rest["items"].as_array().unwrap().len(), 100);
    // Expired ones do not count.
    server.advance(Duration::minutes(1));
    create(&server, &token, json!({"name": "later", "scopes": ["account"]})).await;
}

async fn administrators_manage_the_keys_of_others_within_their_own_scopes(database: Database) {
    let admin = Admin::start(database).await;
    let body = json!({"name": "a script", "scopes": ["account"]});
    let maria = admin.user("maria", &[]).await;
    let made = admin.ask("POST", &format!("{maria}/api-keys"), &body).await;
    let key = made.json_with(201);
    assert_eq!(made.header("location"), format!("{maria}/api-keys/{}", text(&key["id"])));
    assert_eq!(use_key(&admin.server, &key, "/users/me").await.json_with(200)["username"], "maria");
    let listed = admin.get(&format!("{maria}/api-keys")).await.json_with(200);
    assert_eq!(listed["items"][0]["id"], key["id"]);
    assert_eq!(admin.delete(made.header("location")).await.status, 204);
    use_key(&admin.server, &key, "/users/me").await.problem(401, "invalid-token");
    // The owner must have the scopes, too.
    let too_much = json!({"name": "a script", "scopes": ["users:read"]});
    admin.ask("POST", &format!("{maria}/api-keys"), &too_much).await.problem(403, "insufficient-scope");
    // A caller with fewer scopes than the owner makes and deletes none.
    let boss = admin.user("boss", &["admin"]).await;
    let kept = admin.ask("POST", &format!("{boss}/api-keys"), &body).await.header("location").to_owned();
    admin.role("helper", &["users:read", "users:write"]).await;
    admin.user("helper", &["helper"]).await;
    let helper = admin.server.login("helper", PASSWORD).await;
    admin.ask_as(&helper, "POST", &format!("{boss}/api-keys"), &body).await.problem(403, "insufficient-scope");
    let delete = admin.server.request("DELETE", &kept).bearer(&helper).send().await;
    delete.problem(403, "insufficient-scope");
    let unknown = "/admin/users/019c0000-0000-7000-8000-000000000000/api-keys";
    admin.ask("POST", unknown, &body).await.problem(404, "not-found");
    admin.get(unknown).await.problem(404, "not-found");
    admin.delete(&format!("{maria}/api-keys/{}", text(&key["id"]))).await.problem(404, "not-found");
}

async fn deletion_is_in_the_feed(database: Database) {
    let (server, token, key) = with_key(database, &[], &["account"]).await;
    let path = format!("/users/me/api-keys/{}", text(&key["id"]));
    assert_eq!(server.request("DELETE", &path).bearer(&token).send().await.status, 204);
    let admin = server.admin().await;
    let feed = server.get("/revocations").bearer(&admin).send().await.json_with(200);
    let items: Vec<_> = feed["items"].as_array().unwrap().iter().map(|item| (&item["kind"], &item["id"])).collect();
    let (token, session) = (json!("token"), json!("session"));
    assert_eq!(items, [(&token, &key["id"]), (&session, &key["id"])]);
}

async fn introspection_describes_a_key(database: Database) {
    let (server, _, key) = with_key(database, &[], &["account"]).await;
    let issuer = server.url().to_owned();
    let client = NewClient { id: "items", audiences: &["https://items.example.com"], ..NewClient::default() };
    let secret = server.create_client(client).await;
    let introspect = async |token: Option<&str>| {
        let form = format!("token={}", text(&key["key"]));
        let request = server.request("POST", "/introspect").body("application/x-www-form-urlencoded", form);
        let request = match token {
            Some(token) => request.bearer(token),
            None => request.basic("items", &secret),
        };
        request.send().await.json_with(200)
    };
    let admin = server.admin().await;
    let sub = use_key(&server, &key, "/users/me").await.json_with(200)["id"].clone();
    assert_eq!(
        introspect(Some(&admin)).await,
        json!({
            "active": true, "scope": "account", "username": "maria", "token_type": "api_key", "iat": 1_769_860_800,
            "sub": sub, "aud": issuer, "iss": issuer, "jti": key["id"],
        })
    );
    // It is for another service.
    assert_eq!(introspect(None).await, json!({"active": false}));
}

async fn a_key_in_the_query_needs_the_setting(database: Database) {
    let (server, token, key) = with_key(database, &[], &["account"]).await;
    let path = format!("/users/me?api_key={}", text(&key["key"]));
    server.get(&path).send().await.problem(401, "unauthorized");
    let database = server.stop();
    let server = TestServer::with(database, &["--api-key-query"]).await;
    // The issuer has changed with the port, and with it the audience of keys that have none of their own.
    assert_eq!(server.get(&path).send().await.status, 200);
    server.get(&path).bearer(&token).send().await.problem(400, "invalid-request");
}

async fn operators_manage_keys_on_the_command_line(database: Database) {
    set_up(&database);
    json_of(&database, &["user", "create", "maria", "--password-stdin"], PASSWORD);
    let create = ["api-key", "create", "maria", "a script", "--scope", "account"];
    let key = json_of(&database, &[&create[..], &["--expires-in", "90d"]].concat(), "");
    assert!(text(&key["key"]).starts_with("grk_") && key["expires_at"].is_string(), "{key}");
    let items = [&create[..], &["--key-audience", "https://items.example.com"]].concat();
    assert_eq!(json_of(&database, &items, "")["audiences"], json!(["https://items.example.com"]));
    let listed = json_of(&database, &["api-key", "list", "maria"], "");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed[0].get("key").is_none() && listed[0]["id"] == key["id"]);
    // As over HTTP, the owner must have the scope.
    for (scope, problem) in [("users:read", "missing scopes: users:read"), ("nothing:here", "nothing:here")] {
        let (code, said) = failure(&database, &["api-key", "create", "maria", "x", "--scope", scope], "");
        assert!(code == Some(1) && said.contains(problem), "{said}");
    }
    let delete = ["api-key", "delete", "maria", text(&key["id"])];
    let (code, said) = failure(&database, &delete, "");
    assert!(code == Some(1) && said.contains("--yes") && said.contains("a script"), "{said}");
    let output = grantd(database.url(), &[&delete[..], &["--yes"]].concat(), "", &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim_end(), "Deleted the API key a script of the user maria.");
    let (code, said) = failure(&database, &[&delete[..], &["--yes"]].concat(), "");
    assert!(code == Some(1) && said.contains("there is no API key"), "{said}");
}
