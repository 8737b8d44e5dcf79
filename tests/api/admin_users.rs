//! `/admin/users`: requests, responses with all members, and validation errors.

use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{Admin, Answer, Database, Form, PASSWORD, on_both_engines};

on_both_engines!(
    users_can_be_created_changed_and_deleted,
    all_invalid_fields_are_reported_together,
    malformed_bodies_are_refused,
    a_patch_distinguishes_null_from_absent,
    a_username_with_an_at_must_equal_the_email,
    usernames_and_emails_are_unique,
    unknown_ids_are_not_found,
);

async fn users_can_be_created_changed_and_deleted(database: Database) {
    let admin = Admin::start(database).await;
    let body =
        json!({"username": "Maria", "email": "Maria@example.com", "password": PASSWORD, "display_name": "Mária"});
    let answer = admin.ask("POST", "/admin/users", &body).await;
    let created = answer.json_with(201);
    let path = format!("/admin/users/{}", created["id"].as_str().unwrap());
    assert_eq!((answer.header("location"), answer.header("cache-control")), (path.as_str(), "no-store"));
    let mut user = json!({
        "id": created["id"], "username": "Maria", "email": "Maria@example.com", "display_name": "Mária",
        "roles": ["member"], "scopes": ["account"], "disabled": false, "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z", "last_login_at": null,
    });
    assert_eq!(created, user);
    assert_eq!(admin.get(&path).await.json_with(200), user);
    // The list has the same representation.
    let list = admin.get("/admin/users").await.json_with(200);
    assert!(list["items"].as_array().unwrap().contains(&user), "{list}");
    assert_eq!(list["next_cursor"], Value::Null);

    admin.server.advance(Duration::seconds(5));
    let answer = admin.ask("PATCH", &path, &json!({"username": "mary", "disabled": true})).await;
    (user["username"], user["disabled"]) = (json!("mary"), json!(true));
    user["updated_at"] = json!("2026-01-31T12:00:05Z");
    assert_eq!(answer.json_with(200), user);
    let answer = admin.ask("PUT", &format!("{path}/roles"), &json!({"roles": ["admin", "admin"]})).await;
    let changed = answer.json_with(200);
    assert_eq!(changed["roles"], json!(["admin", "member"]), "member is kept, and duplicates are removed");
    assert_eq!(changed["scopes"].as_array().unwrap().len(), 11);
    let answer = admin.ask("PUT", &format!("{path}/roles"), &json!({"roles": []})).await;
    assert_eq!(answer.json_with(200), user);
    let answer = admin.ask("PUT", &format!("{path}/password"), &json!({"password": "the next password"})).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let answer = admin.delete(&format!("{path}/sessions")).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(admin.ask("PATCH", &path, &json!({"disabled": false})).await.json_with(200)["disabled"], false);
    let old = admin.server.token(&Form::password("mary", PASSWORD)).send().await;
    old.oauth_error(400, "invalid_grant");
    admin.server.login("mary", "the next password").await;
    let shown = admin.get(&path).await.json_with(200);
    assert_eq!(shown["last_login_at"], "2026-01-31T12:00:05Z");

    // Neither the responses nor the audit log contain secrets.
    let events = admin.get("/admin/audit-events?limit=200").await;
    assert!(events.json_with(200)["items"].as_array().unwrap().len() > 5);
    for secret in [PASSWORD, "the next password", "argon2"] {
        assert!(!events.text().contains(secret) && !shown.to_string().contains(secret));
    }

    let answer = admin.delete(&path).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    admin.get(&path).await.problem(404, "not-found");
    admin.delete(&path).await.problem(404, "not-found");
    // The username can be reused.
    admin.create(&json!({"username": "MARY", "password": PASSWORD, "email": null, "roles": ["member"]})).await;
}

async fn all_invalid_fields_are_reported_together(database: Database) {
    let admin = Admin::start(database).await;
    let before = admin.server.database().row_counts().await;
    let long = "a".repeat(1025);
    for (body, wrong) in [
        (json!({}), &[("username", "required"), ("password", "required")][..]),
        (json!({"username": null, "password": null}), &[("username", "required"), ("password", "required")]),
        (
            json!({"username": "", "email": "x", "password": "short", "display_name": "", "roles": ["A"]}),
            &[
                ("username", "required"),
                ("email", "email"),
                ("password", "length"),
                ("display_name", "length"),
                ("roles", "format"),
            ],
        ),
        (
            json!({"username": "a".repeat(65), "email": format!("{long}@example.com"), "password": long}),
            &[("username", "length"), ("email", "length"), ("password", "length")],
        ),
        (
            json!({"username": "m\u{e1}ria", "password": "with \u{0} inside", "display_name": "with \u{0}"}),
            &[("username", "format"), ("password", "format"), ("display_name", "format")],
        ),
        (json!({"username": "019c0000-0000-7000-8000-000000000000", "password": PASSWORD}), &[("username", "format")]),
        // Unknown roles are reported together with invalid fields.
        (
            json!({"username": "m", "email": "x", "password": PASSWORD, "roles": ["member", "nobodys"]}),
            &[("email", "email"), ("roles", "unknown")],
        ),
        // Rules on two fields are reported together with rules on one field.
        (
            json!({"username": "b@example.com", "email": "a@example.com", "password": "short"}),
            &[("username", "format"), ("password", "length")],
        ),
        (json!({"username": "b", "password": PASSWORD, "roles": ["member", "nobodys"]}), &[("roles", "unknown")]),
        (json!({"username": 5, "password": PASSWORD}), &[("username", "format")]),
    ] {
        let answer = admin.ask("POST", "/admin/users", &body).await;
        answer.wrong_fields(wrong);
        assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
    }
    let path = admin.create(&json!({"username": "maria", "password": PASSWORD})).await;
    let all_null = json!({"username": null, "disabled": null, "email": "x", "display_name": "a".repeat(201)});
    let wrong = [("username", "required"), ("disabled", "required"), ("email", "email"), ("display_name", "length")];
    admin.ask("PATCH", &path, &all_null).await.wrong_fields(&wrong);
    for (body, code) in [
        (json!({}), "required"),
        (json!({"password": null}), "required"),
        (json!({"password": ""}), "required"),
        (json!({"password": "1234567"}), "length"),
        (json!({"password": ["12345678"]}), "format"),
    ] {
        admin.ask("PUT", &format!("{path}/password"), &body).await.wrong_fields(&[("password", code)]);
    }
    for (body, code) in [
        (json!({}), "required"),
        (json!({"roles": null}), "required"),
        (json!({"roles": ["no role"]}), "format"),
        (json!({"roles": ["nobodys"]}), "unknown"),
    ] {
        admin.ask("PUT", &format!("{path}/roles"), &body).await.wrong_fields(&[("roles", code)]);
    }
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.server.database().row_counts().await, before);
    // The minimum is 8 characters, not bytes. Composed and decomposed characters are equal.
    let path = admin.create(&json!({"username": "maria", "password": "ñüçßåø\u{301}éx"})).await;
    admin.server.login("maria", "n\u{303}üçßåø\u{301}e\u{301}x").await;
    assert_eq!(
        admin.ask("PUT", &format!("{path}/password"), &json!({"password": "ñandú açaí ".repeat(64)})).await.status,
        204
    );
}

async fn malformed_bodies_are_refused(database: Database) {
    let admin = Admin::start(database).await;
    let path = admin.create(&json!({"username": "maria", "password": PASSWORD})).await;
    let before = admin.get(&path).await.json_with(200);
    for (method, path) in [
        ("POST", "/admin/users".to_owned()),
        ("PATCH", path.clone()),
        ("PUT", format!("{path}/password")),
        ("PUT", format!("{path}/roles")),
    ] {
        for (content_type, body, status, kind) in [
            ("application/json", "", 400, "malformed-body"),
            ("application/json", "{broken", 400, "malformed-body"),
            ("application/json", "[]", 400, "malformed-body"),
            ("application/json", "null", 400, "malformed-body"),
            ("application/json", "\"maria\"", 400, "malformed-body"),
            ("application/json", "{} {}", 400, "malformed-body"),
            ("application/json", r#"{"is_admin": true}"#, 400, "malformed-body"),
            ("application/json", r#"{"username": "a", "username": "b"}"#, 400, "malformed-body"),
            ("application/json", r#"{"password": "12345678", "password": "23456789"}"#, 400, "malformed-body"),
            ("application/json", r#"{"roles": [], "roles": []}"#, 400, "malformed-body"),
            ("application/json", "{\"username\": \"\u{fffd}", 400, "malformed-body"),
            ("text/plain", "{}", 415, "unsupported-media-type"),
            ("application/x-www-form-urlencoded", "username=maria", 415, "unsupported-media-type"),
        ] {
            let request = admin.server.request(method, &path).bearer(&admin.token).body(content_type, body);
            request.send().await.problem(status, kind);
        }
        let merge = "application/merge-patch+json";
        let answer = admin.server.request(method, &path).bearer(&admin.token).body(merge, "{}").send().await;
        assert_eq!(answer.status, if method == "PATCH" { 200 } else { 415 });
        let answer = admin.server.request(method, &path).bearer(&admin.token).send().await;
        answer.problem(415, "unsupported-media-type");
        let large = format!("{{{}}}", " ".repeat(65_536));
        let request = admin.server.request(method, &path).bearer(&admin.token).body("application/json", large);
        request.send().await.problem(413, "too-large");
    }
    assert_eq!(admin.get(&path).await.json_with(200), before);
}

async fn a_patch_distinguishes_null_from_absent(database: Database) {
    let admin = Admin::start(database).await;
    let body = json!({"username": "maria", "email": "maria@example.com", "display_name": "M", "password": PASSWORD});
    let path = admin.create(&body).await;
    let before = admin.get(&path).await.json_with(200);
    admin.server.advance(Duration::seconds(1));
    let nothing = admin.ask("PATCH", &path, &json!({})).await.json_with(200);
    assert_eq!(nothing, before, "not even updated_at changes");
    let request = admin.server.request("PATCH", &path).bearer(&admin.token);
    let patched =
        request.body("application/merge-patch+json; charset=utf-8", r#"{"email": null}"#).send().await.json_with(200);
    assert_eq!((&patched["email"], &patched["display_name"]), (&Value::Null, &json!("M")));
    let patched = admin.ask("PATCH", &path, &json!({"display_name": null})).await.json_with(200);
    assert_eq!((&patched["email"], &patched["display_name"]), (&Value::Null, &Value::Null));
    let patched = admin.ask("PATCH", &path, &json!({"display_name": "  "})).await.json_with(200);
    assert_eq!(patched["display_name"], "  ", "never trimmed");
}

async fn a_username_with_an_at_must_equal_the_email(database: Database) {
    let admin = Admin::start(database).await;
    for email in [json!(null), json!("other@example.com")] {
        let body = json!({"username": "maria@example.com", "email": email, "password": PASSWORD});
        admin.ask("POST", "/admin/users", &body).await.wrong_fields(&[("username", "format")]);
    }
    let body = json!({"username": "maria@example.com", "email": "Maria@Example.com", "password": PASSWORD});
    let path = admin.create(&body).await;
    for body in [json!({"email": null}), json!({"email": "x@example.com"}), json!({"username": "x@example.com"})] {
        admin.ask("PATCH", &path, &body).await.wrong_fields(&[("username", "format")]);
    }
    let both = json!({"username": "m@example.com", "email": "m@example.com"});
    assert_eq!(admin.ask("PATCH", &path, &both).await.json_with(200)["username"], "m@example.com");
    assert_eq!(admin.ask("PATCH", &path, &json!({"username": "m", "email": null})).await.status, 200);
}

async fn usernames_and_emails_are_unique(database: Database) {
    let admin = Admin::start(database).await;
    admin.create(&json!({"username": "maria", "email": "maria@example.com", "password": PASSWORD})).await;
    let path = admin.create(&json!({"username": "peter", "password": PASSWORD})).await;
    let is_conflict = |answer: &Answer, what: &str| {
        let body = answer.problem(409, "conflict");
        assert!(body["detail"].as_str().unwrap().contains(what), "{body}");
    };
    let body = json!({"username": "MARIA", "password": PASSWORD});
    is_conflict(&admin.ask("POST", "/admin/users", &body).await, "username");
    let body = json!({"username": "m", "email": "MARIA@example.com", "password": PASSWORD});
    is_conflict(&admin.ask("POST", "/admin/users", &body).await, "email");
    is_conflict(&admin.ask("PATCH", &path, &json!({"username": "Maria"})).await, "username");
    is_conflict(&admin.ask("PATCH", &path, &json!({"email": "Maria@Example.COM"})).await, "email");
    // The case of the own username can be changed.
    assert_eq!(admin.ask("PATCH", &path, &json!({"username": "PETER"})).await.json_with(200)["username"], "PETER");
}

async fn unknown_ids_are_not_found(database: Database) {
    let admin = Admin::start(database).await;
    for id in ["019c0000-0000-7000-8000-000000000000", "maria", "1", "%00", "%F0%9F%A6%80", "me"] {
        let path = format!("/admin/users/{id}");
        let problem = admin.get(&path).await.problem(404, "not-found");
        let is_id = id.starts_with("019c");
        assert_eq!(problem["detail"].as_str().unwrap().contains("GET /admin/users?q=NAME"), !is_id, "{problem}");
        admin.delete(&path).await.problem(404, "not-found");
        admin.ask("PATCH", &path, &json!({})).await.problem(404, "not-found");
        for (method, rest, body) in [
            ("PUT", "password", json!({"password": PASSWORD})),
            ("PUT", "roles", json!({"roles": []})),
            ("DELETE", "sessions", json!({})),
        ] {
            admin.ask(method, &format!("{path}/{rest}"), &body).await.problem(404, "not-found");
        }
    }
}
