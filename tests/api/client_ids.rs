//! Client ids that no client has: what cannot be one costs no statement, and those that could be share statements.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    Answer, Database, Form, NewClient, Request, TestServer, Transaction, eventually, on_both_engines,
};

on_both_engines!(what_is_no_client_id_is_refused_without_the_database, an_id_in_the_grant_of_refresh_tokens);

/// None of them is `[a-z][a-z0-9-]{1,62}`.
fn malformed() -> Vec<String> {
    let mut ids: Vec<String> =
        ["A", "Default", "DEFAULT", "default ", "a/b", "../default", "a_b", "1st", "-a", "a", "é-client", "a\nb"]
            .map(str::to_owned)
            .into();
    ids.extend(["x".repeat(64), "x".repeat(500), "'; DROP TABLE clients; --".to_owned(), "%".to_owned()]);
    ids
}

/// A JWT that nobody signed.
fn assertion(id: &str) -> String {
    let part = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({"iss": id, "sub": id, "aud": "http://id.example", "jti": "1", "exp": 1_769_860_860});
    format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "ES256", "typ": "JWT"})), part(claims))
}

fn by_assertion(form: Form, id: &str) -> Form {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    form.and("client_assertion_type", kind).and("client_assertion", &assertion(id))
}

/// All ways in which a request says which client it is of, with whether the answer has a challenge.
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

async fn what_is_no_client_id_is_refused_without_the_database(database: Database) {
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
    // U+0000, which Postgres takes in no text. In a form it is a malformed request, whatever the parameter.
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

/// Which looks at what this server has in memory first.
async fn an_id_in_the_grant_of_refresh_tokens(database: Database) {
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

const INVENTED: usize = 64;

/// Sends a request over a connection of its own; the answer is for later.
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
async fn invented_ids_share_statements() {
    let Some(database) = Database::postgres().await else { return };
    let server = TestServer::with(database, &["--database-timeout", "30s"]).await;
    let secret = server.create_client(NewClient::default()).await;
    let mut lock = Transaction::begin(server.database()).await;
    lock.run("LOCK TABLE clients IN ACCESS EXCLUSIVE MODE").await;
    let before = server.app.store.statements_run();
    let mut streams = Vec::new();
    for number in 0..INVENTED {
        streams.push(begin(&server, &Form::admin().and("client_id", &format!("invented-{number}"))).await);
    }
    eventually("a statement waits", async || server.database().waiting_for_locks().await > 0).await;
    // One worker answers all in the order in which they came: when this is answered, all of them were looked at.
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
    assert!(run <= INVENTED as u64 / 2, "{run} statements for {INVENTED} requests");
    // Each gets its own answer.
    server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
}
