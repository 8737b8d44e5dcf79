//! Invalid and unknown client ids: invalid ones cause no statement, and lookups of unknown ones are batched.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    Answer, Database, Form, NewClient, Request, TestServer, Transaction, eventually, on_both_engines,
};

on_both_engines!(invalid_ids_cause_no_statement, invalid_ids_in_a_refresh_cause_no_statement);

/// Returns ids that do not match `[a-z][a-z0-9-]{1,62}`.
fn malformed() -> Vec<String> {
    let mut ids: Vec<String> =
        ["A", "Default", "DEFAULT", "default ", "a/b", "../default", "a_b", "1st", "-a", "a", "é-client", "a\nb"]
            .map(str::to_owned)
            .into();
    ids.extend(["x".repeat(64), "x".repeat(500), "'; DROP TABLE clients; --".to_owned(), "%".to_owned()]);
    ids
}

/// Returns a JWT with an invalid signature.
fn assertion(id: &str) -> String {
    let part = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({"iss": id, "sub": id, "aud": "http://id.example", "jti": "1", "exp": 1_769_860_860});
    format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "ES256", "typ": "JWT"})), part(claims))
}

fn by_assertion(form: Form, id: &str) -> Form {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    form.and("client_assertion_type", kind).and("client_assertion", &assertion(id))
}

/// Returns a request for each client authentication method, and whether its refusal has a challenge.
fn ways(server: &TestServer, path: &str, form: &Form, id: &str) -> [(&'static str, Request, bool); 5] {
    let post = |form: Form| server.request("POST", path).form(&form);
    [
        ("client_secret_basic", post(form.clone()).basic(id, "grs_secret"), true),
        ("client_secret_basic without a secret", post(form.clone()).basic(id, ""), true),
        ("client_secret_post", post(form.clone().and("client_id", id).and("client_secret", "grs_secret")), false),
        ("private_key_jwt", post(by_assertion(form.clone(), id)), false),
        ("none", post(form.clone().and("client_id", id)), false),
    ]
}

#[track_caller]
fn is_invalid_client(what: &str, answer: &Answer, challenged: bool) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    answer.oauth_error(401, "invalid_client");
    let challenge = if challenged { "Basic realm=\"grantd\"" } else { "" };
    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
}

async fn invalid_ids_cause_no_statement(database: Database) {
    let server = TestServer::start(database).await;
    let endpoints = [
        ("/token", Form::admin()),
        ("/token", Form::of(&[("grant_type", "client_credentials")])),
        ("/introspect", Form::of(&[("token", "x")])),
        ("/revoke", Form::of(&[("token", "x")])),
    ];
    let before = server.app.store.statements_run();
    for id in malformed() {
        for (path, form) in &endpoints {
            for (way, request, challenged) in ways(&server, path, form, &id) {
                is_invalid_client(&format!("{id:?} by {way} at {path}"), &request.send().await, challenged);
            }
        }
        let feed = server.get("/revocations").basic(&id, "grs_secret").send().await;
        assert_eq!(feed.status, 401, "{id:?} at /revocations: {}", feed.text());
    }
    // U+0000, which Postgres text cannot contain. A form with it is malformed, whatever the parameter.
    for id in ["\0", "a\0b", "default\0"] {
        for (path, form) in &endpoints {
            for (way, request, challenged) in ways(&server, path, form, id) {
                let answer = request.send().await;
                match way {
                    "client_secret_post" | "none" => {
                        answer.oauth_error(400, "invalid_request");
                    }
                    way => is_invalid_client(&format!("{id:?} by {way} at {path}"), &answer, challenged),
                }
            }
        }
    }
    assert_eq!(server.app.store.statements_run() - before, 0, "statements");
}

/// Also with a valid refresh token, which stays valid.
async fn invalid_ids_in_a_refresh_cause_no_statement(database: Database) {
    let server = TestServer::start(database).await;
    let login = server.token(&Form::admin()).send().await.json_with(200);
    let token = login["refresh_token"].as_str().unwrap();
    let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let before = server.app.store.statements_run();
    for id in malformed() {
        for (way, request, challenged) in ways(&server, "/token", &form, &id) {
            is_invalid_client(&format!("{id:?} by {way}"), &request.send().await, challenged);
        }
    }
    assert_eq!(server.app.store.statements_run() - before, 0, "statements");
    server.token(&form).send().await.json_with(200);
}

const UNKNOWN: usize = 64;

/// Sends a request over a connection of its own, without reading the response.
async fn begin(server: &TestServer, form: &Form) -> TcpStream {
    let body = form.encode();
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

#[actix_web::test]
async fn lookups_of_unknown_ids_are_batched() {
    let Some(database) = Database::postgres().await else { return };
    let server = TestServer::with(database, &["--database-timeout", "30s"]).await;
    let secret = server.create_client(NewClient::default()).await;
    let mut lock = Transaction::begin(server.database()).await;
    lock.run("LOCK TABLE clients IN ACCESS EXCLUSIVE MODE").await;
    let before = server.app.store.statements_run();
    let mut streams = Vec::new();
    for number in 0..UNKNOWN {
        streams.push(begin(&server, &Form::admin().and("client_id", &format!("invented-{number}"))).await);
    }
    eventually("a statement waits", async || server.database().waiting_for_locks().await > 0).await;
    // The only worker handles requests in order: after these responses, it has begun all requests above.
    for _ in 0..3 {
        assert_eq!(server.get("/healthz").send().await.status, 200);
    }
    lock.commit().await;
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("invalid_client"), "{answer}");
    }
    let run = server.app.store.statements_run() - before;
    assert!(run <= UNKNOWN as u64 / 2, "{run} statements for {UNKNOWN} requests");
    // A known client is accepted.
    server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
}
