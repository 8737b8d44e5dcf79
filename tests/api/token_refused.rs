//! `POST /token`: refused requests, their errors, and that they change nothing.

use serde_json::Value;

use crate::harness::{ADMIN_PASSWORD, Answer, Database, Form, NewClient, PASSWORD, TestServer, on_both_engines, raw};

on_both_engines!(
    invalid_forms_get_an_error_and_change_nothing,
    invalid_bodies_get_an_error_and_change_nothing,
    unknown_users_and_wrong_passwords_get_the_same_response,
    account_disabled_is_revealed_only_with_the_right_password,
    a_new_password_replaces_the_old_one,
    unavailable_scopes_are_refused,
    errors_name_the_refused_scope,
    the_password_grant_can_be_disabled,
    other_methods_get_oauth_errors,
);

/// Returns invalid forms, each with a description and the expected error.
fn wrong_forms() -> Vec<(&'static str, Form, &'static str)> {
    let right = Form::admin;
    vec![
        ("no grant", right().without("grant_type"), "invalid_request"),
        ("an empty grant", right().set("grant_type", ""), "invalid_request"),
        ("no user name", right().without("username"), "invalid_request"),
        ("an empty user name", right().set("username", ""), "invalid_request"),
        ("no password", right().without("password"), "invalid_request"),
        ("an empty password", right().set("password", ""), "invalid_request"),
        ("nothing", Form::default(), "invalid_request"),
        ("grant twice", right().and("grant_type", "password"), "invalid_request"),
        ("user name twice", right().and("username", "admin"), "invalid_request"),
        ("password twice", right().and("password", ADMIN_PASSWORD), "invalid_request"),
        ("scope twice", right().and("scope", "account").and("scope", "account"), "invalid_request"),
        ("scope twice, once empty", right().and("scope", "account").and("scope", ""), "invalid_request"),
        ("client twice", right().and("client_id", "default").and("client_id", "default"), "invalid_request"),
        ("secret twice", right().and("client_secret", "x").and("client_secret", "x"), "invalid_request"),
        ("a password too long", right().set("password", &"x".repeat(1025)), "invalid_request"),
        ("a password too long in bytes", right().set("password", &"ä".repeat(513)), "invalid_request"),
        ("NUL in the password", right().set("password", "correct\0horse"), "invalid_request"),
        ("NUL in the user name", right().set("username", "admin\0"), "invalid_request"),
        ("NUL in the scope", right().and("scope", "account\0"), "invalid_request"),
        ("NUL in the client", right().and("client_id", "default\0"), "invalid_request"),
        ("NUL in an unknown parameter", right().and("more", "\0"), "invalid_request"),
        ("another grant", right().set("grant_type", "authorization_code"), "unsupported_grant_type"),
        ("the grant in another case", right().set("grant_type", "Password"), "unsupported_grant_type"),
        ("a scope that does not exist", right().and("scope", "items:read"), "invalid_scope"),
        ("an unknown scope beside a valid one", right().and("scope", "account items:read"), "invalid_scope"),
        ("a scope in another case", right().and("scope", "Account"), "invalid_scope"),
        ("a scope with a quote", right().and("scope", "\""), "invalid_scope"),
        ("a scope beyond ASCII", right().and("scope", "accöunt"), "invalid_scope"),
        ("a scope with a tab", right().and("scope", "account\tusers:read"), "invalid_scope"),
        ("another resource", right().and("resource", "https://elsewhere.example"), "invalid_target"),
        ("a wrong password", right().set("password", "wrong horse"), "invalid_grant"),
        ("a trimmed password", right().set("password", &format!("{ADMIN_PASSWORD} ")), "invalid_grant"),
        ("an unknown user", right().set("username", "nobody"), "invalid_grant"),
        ("a user name with a space", right().set("username", "admin "), "invalid_grant"),
        ("a user name that is SQL", right().set("username", "' OR 1=1 --"), "invalid_grant"),
        ("a user name of Unicode", right().set("username", "ADMİN"), "invalid_grant"),
        ("a long user name", right().set("username", &"a".repeat(10_000)), "invalid_grant"),
    ]
}

async fn invalid_forms_get_an_error_and_change_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let before = server.database().row_counts().await;
    for (what, form, error) in wrong_forms() {
        let answer = server.token(&form).send().await;
        assert!(answer.status == 400, "{what}: {}", answer.text());
        let body = answer.oauth_error(400, error);
        assert_eq!(body.as_object().unwrap().len(), 2, "{what}: {body}");
        repeats_nothing(&answer, &form);
    }
    assert_eq!(server.database().row_counts().await, before);
}

/// Checks that the response repeats no value of the form, except the name of a scope.
#[track_caller]
fn repeats_nothing(answer: &Answer, form: &Form) {
    let long = |value: &&str| value.len() > 4 && !["password", "default", "account"].contains(value);
    let encoded = form.clone().without("scope").encode();
    for value in encoded.split('&').filter_map(|pair| pair.split('=').nth(1)).filter(long) {
        assert!(!answer.text().contains(value), "{value} in {}", answer.text());
    }
}

async fn invalid_bodies_get_an_error_and_change_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let before = server.database().row_counts().await;
    let form = "application/x-www-form-urlencoded";
    let right = Form::admin().encode();
    let json = format!(r#"{{"grant_type": "password", "username": "admin", "password": "{ADMIN_PASSWORD}"}}"#);
    let with = |more: &[u8]| [right.as_bytes(), more].concat();
    let large = |bytes: usize| format!("{right}&more={}", "x".repeat(bytes)).into_bytes();
    let cases: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("JSON", "application/json", json.into_bytes(), 400),
        ("a multipart form", "multipart/form-data; boundary=x", right.clone().into_bytes(), 400),
        ("text", "text/plain", right.clone().into_bytes(), 400),
        ("no form at all", form, b"\x00\x01\x02".to_vec(), 400),
        ("bytes that are not UTF-8", form, with(b"&more=\xff\xfe"), 400),
        ("escapes that are not UTF-8", form, with(b"&more=%ff"), 400),
        ("half a surrogate", form, with(b"&more=%ED%A0%80"), 400),
        ("an overlong NUL", form, with(b"&more=%C0%80"), 400),
        ("a raw NUL", form, with(b"&more=\0"), 400),
        ("an escape without digits", form, with(b"&more=%zz"), 400),
        ("a truncated escape", form, with(b"&more=%4"), 400),
        ("more than 16 KiB", form, large(16 * 1024), 413),
        ("2 MB", form, large(2_000_000), 413),
    ];
    for (what, kind, body, status) in cases {
        let answer = server.request("POST", "/token").body(kind, body).send().await;
        assert!(answer.status == status, "{what}: {} {}", answer.status, answer.text());
        answer.oauth_error(status, "invalid_request");
    }
    // No content type at all.
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{right}",
        right.len()
    );
    let (status, answer) = raw(server.url(), request).await;
    assert!(status == 400 && answer.contains(r#""error":"invalid_request""#), "{answer}");
    assert_eq!(server.database().row_counts().await, before);
    // A body of exactly 16 KiB is accepted.
    let fits = large(16 * 1024 - right.len() - "&more=".len());
    assert_eq!(fits.len(), 16 * 1024);
    assert_eq!(server.request("POST", "/token").body(form, fits).send().await.status, 200);
}

async fn unknown_users_and_wrong_passwords_get_the_same_response(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    let answer = async |username: &str, password: &str| {
        server.token(&Form::password(username, password)).send().await.to_the_byte()
    };
    let expected = answer("maria", "wrong").await;
    assert_eq!(expected.0, 400);
    for name in ["nobody", "nobody@example.com", "maria@example.com", "not a name", "MARIA", "admin"] {
        assert_eq!(answer(name, "wrong").await, expected, "{name}");
    }
    // The password of another user is wrong, too. A disabled user gets the same response.
    assert_eq!(answer("admin", PASSWORD).await, expected);
    server.set_disabled(&maria, true).await;
    assert_eq!(answer("maria", "wrong").await, expected);
}

async fn account_disabled_is_revealed_only_with_the_right_password(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    server.set_disabled(&maria, true).await;
    let before = server.database().row_counts().await;
    let right = server.token(&Form::password("maria", PASSWORD)).send().await.oauth_error(400, "invalid_grant");
    assert_eq!(right["reason"], "account_disabled");
    let wrong = server.token(&Form::password("maria", "wrong")).send().await.oauth_error(400, "invalid_grant");
    assert_eq!(wrong["reason"], Value::Null);
    assert_eq!(server.database().row_counts().await, before);
    server.set_disabled(&maria, false).await;
    server.login("maria", PASSWORD).await;
}

async fn a_new_password_replaces_the_old_one(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &[]).await;
    server.set_password(&maria, "another password").await;
    server.token(&Form::password("maria", PASSWORD)).send().await.oauth_error(400, "invalid_grant");
    server.login("maria", "another password").await;
}

async fn unavailable_scopes_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read", "items:write"]).await;
    server.put_role("reader", "items:read").await;
    server.create_user("maria", &["reader"]).await;
    server
        .create_client(NewClient { id: "shop", confidential: false, scopes: "items:write", ..NewClient::default() })
        .await;
    let before = server.database().row_counts().await;
    for (client, scope) in [
        // The client lacks the scope, although the user has it.
        ("shop", Some("items:read")),
        ("shop", Some("items:read items:write")),
        // The client has the scope, but the user lacks it.
        ("shop", Some("items:write")),
        ("shop", None),
        ("default", Some("users:read users:write")),
    ] {
        let form = Form::password("maria", PASSWORD).and("client_id", client);
        let form = scope.map_or(form.clone(), |scope| form.and("scope", scope));
        server.token(&form).send().await.oauth_error(400, "invalid_scope");
    }
    assert_eq!(server.database().row_counts().await, before);
}

async fn errors_name_the_refused_scope(database: Database) {
    let server = TestServer::start(database).await;
    let description = async |scope: &str| {
        let body = server.token(&Form::admin().and("scope", scope)).send().await.oauth_error(400, "invalid_scope");
        body["error_description"].as_str().unwrap().to_owned()
    };
    for (scope, name) in [("items:raed", "items:raed"), ("account Account", "Account"), ("<b>&", "<b>&")] {
        assert!(description(scope).await.contains(&format!("the scope {name} ")), "{scope}");
    }
    // Neither malformed nor very long names are repeated, since they may be secrets.
    for scope in ["a\"secret", "accöunt:secret", &format!("secret{}", "x".repeat(64))] {
        assert!(!description(scope).await.contains("secret"), "{scope}");
    }
    let login = server.token(&Form::admin().and("scope", "account")).send().await.json_with(200);
    let refresh = Form::of(&[("grant_type", "refresh_token"), ("scope", "account users:read")]);
    let refresh = refresh.and("refresh_token", login["refresh_token"].as_str().unwrap());
    let body = server.token(&refresh).send().await.oauth_error(400, "invalid_scope");
    assert!(body["error_description"].as_str().unwrap().contains("the scope users:read "), "{body}");
}

async fn the_password_grant_can_be_disabled(database: Database) {
    let server = TestServer::with(database, &["--password-grant", "false"]).await;
    server.token(&Form::admin()).send().await.oauth_error(400, "unauthorized_client");
    let metadata = server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    assert!(!metadata["grant_types_supported"].as_array().unwrap().contains(&"password".into()), "{metadata}");
}

async fn other_methods_get_oauth_errors(database: Database) {
    let server = TestServer::start(database).await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let answer = server.request(method, "/token").form(&Form::admin()).send().await;
        answer.oauth_error(405, "invalid_request");
        assert_eq!(answer.header("allow"), "POST", "{method}");
    }
    let head = server.request("HEAD", "/token").send().await;
    assert_eq!((head.status, head.header("allow"), head.body.len()), (405, "POST", 0));
}
