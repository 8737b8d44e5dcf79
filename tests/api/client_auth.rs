//! Client authentication at `POST /token` (RFC 6749 §2.3).

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::harness::{Answer, Database, Form, NewClient, Request, TestServer, on_both_engines};

on_both_engines!(
    each_authentication_method_works,
    each_failure_is_invalid_client,
    two_authentication_methods_in_one_request_are_refused,
    a_client_can_use_only_its_grant_types,
    a_disabled_client_is_refused,
    the_default_client_can_be_disabled,
    unknown_clients_and_wrong_secrets_get_the_same_response,
);

const PUBLIC: NewClient = NewClient {
    id: "app",
    confidential: false,
    grants: &["password", "refresh_token"],
    scopes: "account",
    audiences: &[],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

async fn start(database: Database) -> (TestServer, String) {
    let server = TestServer::start(database).await;
    server.create_client(PUBLIC).await;
    let secret = server.create_client(NewClient::default()).await;
    (server, secret)
}

/// Returns a login request with this `Authorization` header.
fn authorization(server: &TestServer, value: impl AsRef<[u8]>) -> Request {
    server.token(&Form::admin()).header("Authorization", value)
}

fn basic(credentials: impl AsRef<[u8]>) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

async fn each_authentication_method_works(database: Database) {
    let (server, secret) = start(database).await;
    assert!(secret.starts_with("grs_") && secret.len() == 4 + 43 + 6, "{secret}");
    let form = Form::admin;
    let encoded_id = "back%2Doffice";
    let encoded_secret: String = secret.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    let requests = [
        ("none, by default", server.token(&form()), "default"),
        ("none", server.token(&form().and("client_id", "app")), "app"),
        ("basic, public", server.token(&form()).basic("app", ""), "app"),
        ("basic", server.token(&form()).basic("back-office", &secret), "back-office"),
        ("post", server.token(&form().and("client_id", "back-office").and("client_secret", &secret)), "back-office"),
        (
            "basic, everything escaped",
            authorization(&server, basic(format!("{encoded_id}:{encoded_secret}"))),
            "back-office",
        ),
        (
            "another case",
            authorization(&server, basic(format!("back-office:{secret}")).replace("Basic", "bAsIC")),
            "back-office",
        ),
        // The id of the same client in the form is not a second authentication.
        (
            "basic and name",
            server.token(&form().and("client_id", "back-office")).basic("back-office", &secret),
            "back-office",
        ),
        // As Swagger UI sends it if its fields are empty.
        ("basic, empty", server.token(&form()).basic("", ""), "default"),
    ];
    for (what, request, client) in requests {
        let body = request.send().await.json_with(200);
        assert_eq!(crate::token::claims(body["access_token"].as_str().unwrap())["client_id"], client, "{what}");
    }
}

#[track_caller]
fn invalid_client(what: &str, answer: &Answer, challenged: bool) {
    assert!(answer.status == 401, "{what}: {} {}", answer.status, answer.text());
    answer.oauth_error(401, "invalid_client");
    let challenge = if challenged { "Basic realm=\"grantd\"" } else { "" };
    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
}

async fn each_failure_is_invalid_client(database: Database) {
    let (server, secret) = start(database).await;
    let form = |id: &str| Form::admin().and("client_id", id);
    let before = server.database().row_counts().await;
    let typo = secret.replace("grs_", "grs_x");
    for (what, form) in [
        ("unknown", form("nobody")),
        ("unknown, with a secret", form("nobody").and("client_secret", &secret)),
        ("an invalid id", form("DEFAULT")),
        ("an id with a space", form("default ")),
        ("a confidential client without a secret", form("back-office")),
        ("an empty secret", form("back-office").and("client_secret", "")),
        ("a wrong secret", form("back-office").and("client_secret", "wrong")),
        ("a typo", form("back-office").and("client_secret", &typo)),
        ("a public client with a secret", form("app").and("client_secret", &secret)),
        ("a secret without an id", Form::admin().and("client_secret", &secret)),
    ] {
        invalid_client(what, &server.token(&form).send().await, false);
    }
    for (what, value) in [
        ("unknown", basic(format!("nobody:{secret}"))),
        ("a wrong secret", basic("back-office:wrong")),
        ("no secret", basic("back-office:")),
        ("a public client with a secret", basic(format!("app:{secret}"))),
        ("no colon", basic("back-office")),
        ("not base64", "Basic !!!".to_owned()),
        ("base64 of an invalid length", "Basic YWJjZ".to_owned()),
        ("nothing", "Basic".to_owned()),
        ("only a space", "Basic ".to_owned()),
        ("not UTF-8", basic(b"\xff\xfe:x")),
        ("escapes that are not UTF-8", basic("%ff:x")),
        ("a truncated escape", basic("app%2:x")),
        ("NUL", basic("app\0:x")),
        ("an escaped NUL", basic("app%00:x")),
        ("an access token", "Bearer a.b.c".to_owned()),
        ("another scheme", "Digest username=\"admin\"".to_owned()),
        ("no scheme", "admin".to_owned()),
    ] {
        invalid_client(what, &authorization(&server, value).send().await, true);
    }
    invalid_client("bytes", &authorization(&server, b"Basic \xff").send().await, true);
    assert_eq!(server.database().row_counts().await, before);
}

async fn two_authentication_methods_in_one_request_are_refused(database: Database) {
    let (server, secret) = start(database).await;
    let by_basic = basic(format!("back-office:{secret}"));
    let form = Form::admin().and("client_id", "back-office").and("client_secret", &secret);
    let requests = [
        server.token(&form).basic("back-office", &secret),
        server.token(&Form::admin().and("client_secret", &secret)).basic("back-office", &secret),
        server.token(&Form::admin().and("client_id", "app")).basic("back-office", &secret),
        authorization(&server, &by_basic).header("Authorization", &by_basic),
        authorization(&server, &by_basic).header("Authorization", "Bearer a.b.c"),
    ];
    for request in requests {
        request.send().await.oauth_error(400, "invalid_request");
    }
}

async fn a_client_can_use_only_its_grant_types(database: Database) {
    let (server, _) = start(database).await;
    let secret = server
        .create_client(NewClient { id: "machine", grants: &["client_credentials"], ..NewClient::default() })
        .await;
    let hashes = server.app.passwords.hashes_run();
    let answer = server.token(&Form::admin()).basic("machine", &secret).send().await;
    answer.oauth_error(400, "unauthorized_client");
    assert_eq!(server.app.passwords.hashes_run(), hashes, "the password is not verified");
    // The client is authenticated first.
    invalid_client("", &server.token(&Form::admin()).basic("machine", "wrong").send().await, true);
}

async fn a_disabled_client_is_refused(database: Database) {
    let (server, secret) = start(database).await;
    for id in ["app", "back-office"] {
        server.set_client_disabled(id, true).await;
    }
    invalid_client("public", &server.token(&Form::admin().and("client_id", "app")).send().await, false);
    invalid_client("confidential", &server.token(&Form::admin()).basic("back-office", &secret).send().await, true);
    server.set_client_disabled("back-office", false).await;
    server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
}

async fn the_default_client_can_be_disabled(database: Database) {
    let (server, secret) = start(database).await;
    server.set_client_disabled("default", true).await;
    invalid_client("unnamed", &server.token(&Form::admin()).send().await, false);
    invalid_client("named", &server.token(&Form::admin().and("client_id", "default")).send().await, false);
    server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
}

async fn unknown_clients_and_wrong_secrets_get_the_same_response(database: Database) {
    let (server, secret) = start(database).await;
    server.create_client(NewClient { id: "closed", ..NewClient::default() }).await;
    server.set_client_disabled("closed", true).await;
    let answer = async |id: &str| server.token(&Form::admin()).basic(id, &secret).send().await.to_the_byte();
    let expected = answer("nobody").await;
    for id in ["app", "closed", "default"] {
        assert_eq!(answer(id).await, expected, "{id}");
    }
}
