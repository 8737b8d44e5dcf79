//! The log has no secrets, at any level: everything that is presented, issued or set is used once, and looked for in it.

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    harness::{ADMIN_PASSWORD, Answer, Database, Form, Grantd, MASTER_KEY, grantd, on_both_engines},
    tls::{self, connect::Http2},
};

on_both_engines!(no_secret_is_logged_at_any_level);

const NEW: &str = "hunter2-the-new-one";
const OTHER: &str = "hunter2-of-another";
const WRONG: &str = "hunter2-wrong";
const TYPED: &str = "hunter2-typed-as-a-name";
const IMPORTED: &str = "$2b$04$hunter2hunter2hunter2uKZqvYzCkUVjN5sEJlUdRyXoq5pJpZ7y";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What was used, with what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, &'static str>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 8, "{what}: {secret:?} could be anywhere");
        self.0.insert(secret.to_owned(), what);
        self.0.insert(utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(), what);
        self.0.insert(secret.replace(' ', "+"), what);
        // A JWT without its signature, and the signature.
        if let [head, claims, signature] = secret.split('.').collect::<Vec<_>>()[..] {
            self.0.insert(format!("{head}.{claims}"), what);
            self.0.insert(signature.to_owned(), what);
        }
    }

    /// Notes the secrets of a response.
    fn take(&mut self, answer: &Answer) -> Value {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        for name in ["access_token", "refresh_token", "device_token", "client_secret", "key"] {
            if let Some(secret) = body[name].as_str() {
                self.add("a secret of a response", secret);
            }
        }
        body
    }

    /// Notes the header of a name and a password.
    fn basic(&mut self, name: &str, password: &str) {
        self.add("a Basic header", &STANDARD.encode(format!("{name}:{password}")));
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, text: &str) {
        for (secret, what) in &self.0 {
            let at = text.find(secret.as_str());
            let line = at.and_then(|at| text[..at].rfind('\n').map(|start| &text[start..]).or(Some(text)));
            let line = line.and_then(|rest| rest.trim_start().lines().next());
            assert!(at.is_none(), "{what} ({secret}) is in {place}: {line:?}");
        }
    }
}

/// Creates what the requests need, on the command line. Its standard error is a log, too.
fn set_up(database: &str, secrets: &mut Secrets, master_key: (&str, &str)) -> String {
    let mut said = String::new();
    let mut run = |arguments: &[&str], input: &str| {
        let done = grantd(database, arguments, input, &[("GRANTD_LOG", "trace"), master_key]);
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{arguments:?}: {error}");
        said.push_str(&error);
        String::from_utf8(done.stdout).unwrap()
    };
    run(&["user", "create", "maria", "--password-stdin", "--role", "admin"], OTHER);
    run(&["user", "passwd", "maria", "--password-stdin"], OTHER);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.jsonl");
    let record = json!({"username": "imported", "password_hash": IMPORTED});
    fs::write(&file, format!("{record}\n")).unwrap();
    // Refused or not: neither the hash nor the record is repeated.
    grantd(database, &["user", "import", file.to_str().unwrap(), "--from", "jsonl"], "", &[master_key]);
    let grants = ["--grant", "client_credentials", "--grant", "password", "--grant", EXCHANGE];
    let create = [&["client", "create", "robot", "--type", "confidential", "--scope", "account"][..], &grants].concat();
    let printed = run(&create, "");
    let secret = printed.split_whitespace().find(|word| word.starts_with("grs_")).unwrap();
    secrets.add("a client secret", secret);
    secrets.basic("robot", secret);
    let key = run(&["api-key", "create", "maria", "a script", "--scope", "account"], "");
    secrets.add("an API key", key.split_whitespace().find(|word| word.starts_with("grk_")).unwrap());
    run(&["user", "list"], "");
    said
}

async fn no_secret_is_logged_at_any_level(database: Database) {
    let mut secrets = Secrets::default();
    for (what, secret) in [
        ("the administrator's password", ADMIN_PASSWORD),
        ("a new password", NEW),
        ("another password", OTHER),
        ("a wrong password", WRONG),
        ("a password typed as a name", TYPED),
        ("an imported hash", IMPORTED),
        ("the master key", MASTER_KEY),
        ("the first bytes of the master key", "kkkkkkkkkkkkkkkk"),
    ] {
        secrets.add(what, secret);
    }
    let files = tempfile::tempdir().unwrap();
    let [_, cert, _, key] = tls::flags(files.path(), 0o600);
    let master_key = ("GRANTD_MASTER_KEY", MASTER_KEY);
    let variables = [
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("GRANTD_LOG", "trace"),
        ("GRANTD_LOG_FORMAT", "json"),
        ("GRANTD_API_KEY_QUERY", "true"),
        ("GRANTD_REGISTRATION", "true"),
        ("GRANTD_TLS_CERT", &cert),
        ("GRANTD_TLS_KEY", &key),
        master_key,
    ];
    let mut server = Grantd::start(database.url(), &variables);
    let cli = set_up(database.url(), &mut secrets, master_key);
    requests(&server, &mut secrets).await;
    over_http2(&server, &mut secrets).await;
    server.signal("TERM");
    assert!(server.wait().success());
    let (_, log) = server.kill();
    assert!(log.contains("\"level\":\"TRACE\"") && log.contains("\"level\":\"DEBUG\""), "the level is not in force");
    assert!(log.lines().count() > 100, "{log}");
    secrets.are_not_in("the log", &log);
    secrets.are_not_in("the log of a command", &cli);
}

/// Uses every credential at every place where it can be.
async fn requests(server: &Grantd, secrets: &mut Secrets) {
    let text = |body: &Value, name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let form = async |form: &Form| server.request("POST", "/token").form(form).send().await;
    let login = secrets.take(&form(&Form::admin()).await);
    let (token, refresh) = (text(&login, "access_token"), text(&login, "refresh_token"));
    assert!(!token.is_empty());
    for wrong in [Form::password("admin", WRONG), Form::password(TYPED, WRONG)] {
        form(&wrong.and("device_token", &text(&login, "device_token"))).await.oauth_error(400, "invalid_grant");
    }
    // A refresh, a retry, and reuse.
    let refreshed = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    let next = secrets.take(&form(&refreshed).await);
    secrets.take(&form(&refreshed).await);
    let second = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &text(&next, "refresh_token"))]);
    secrets.take(&form(&second).await);
    form(&refreshed).await.oauth_error(400, "invalid_grant");

    let login = secrets.take(&form(&Form::admin()).await);
    let token = text(&login, "access_token");
    let created = server.request("POST", "/users/me/api-keys").bearer(&token);
    let created = created.json(&json!({"name": "another script", "scopes": ["account"]})).send().await;
    let key = text(&secrets.take(&created), "key");
    secrets.basic("admin", ADMIN_PASSWORD);
    secrets.basic("admin", WRONG);
    let me = || server.request("GET", "/users/me");
    for request in [
        me().bearer(&token),
        me().bearer(&key),
        me().api_key(&key),
        me().basic_user("admin", ADMIN_PASSWORD),
        server.request("GET", &format!("/users/me?api_key={key}")),
    ] {
        request.send().await.json_with(200);
    }
    for request in [
        me().bearer(WRONG),
        me().bearer(&format!("{token}x")),
        me().api_key(&format!("{key}x")),
        me().basic_user("admin", WRONG),
        me().header("Authorization", format!("Token {WRONG}")),
        me().header("Cookie", WRONG).bearer(&token).api_key(&key),
        server.request("GET", &format!("/users/me?access_token={token}")),
        server.request("GET", &format!("/users/me?api_key={WRONG}")),
    ] {
        assert!((400..500).contains(&request.send().await.status));
    }
    // Clients: both ways to authenticate, right and wrong; an exchange.
    let secret = secrets.0.keys().find(|secret| secret.starts_with("grs_")).unwrap().clone();
    let own = Form::of(&[("grant_type", "client_credentials")]);
    let of_client = server.request("POST", "/token").basic("robot", &secret).form(&own).send().await;
    secrets.take(&of_client);
    form(&own.clone().and("client_id", "robot").and("client_secret", &secret)).await.json_with(200);
    form(&own.clone().and("client_id", "robot").and("client_secret", WRONG)).await.oauth_error(401, "invalid_client");
    let assertion = own
        .clone()
        .and("client_assertion", &token)
        .and("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    form(&assertion).await.oauth_error(401, "invalid_client");
    let exchange = Form::of(&[("grant_type", EXCHANGE), ("subject_token", &key), ("subject_token_type", ACCESS_TOKEN)]);
    secrets.take(&server.request("POST", "/token").basic("robot", &secret).form(&exchange).send().await);
    for path in ["/introspect", "/revoke"] {
        let one = Form::of(&[("token", &text(&login, "refresh_token"))]);
        server.request("POST", path).basic("robot", &secret).form(&one).send().await;
    }
    // Bodies that are refused, wholly or in part.
    let post = |path: &str| server.request("POST", path).bearer(&token);
    for body in
        [json!({"username": "new", "password": NEW, "unknown": WRONG}), json!({"username": TYPED, "password": "short"})]
    {
        post("/admin/users").json(&body).send().await;
    }
    post("/admin/users")
        .body("application/json", format!("{{\"password\": \"{NEW}\", "))
        .send()
        .await
        .problem(400, "malformed-body");
    post("/users").json(&json!({"username": "registered", "password": NEW})).send().await;
    let client = json!({"name": "New", "type": "confidential", "grant_types": ["password"], "scopes": ["account"]});
    let made = secrets.take(&post("/admin/clients").json(&client).send().await);
    let rotate = format!("/admin/clients/{}/secret", text(&made, "client_id"));
    secrets.take(&post(&rotate).json(&json!({})).send().await);
    // Last: it ends the other sessions.
    let change = json!({"current_password": ADMIN_PASSWORD, "new_password": NEW});
    let change = server.request("PUT", "/users/me/password").bearer(&token).json(&change).send().await;
    assert_eq!(change.status, 204, "{}", change.text());
    secrets.take(&form(&Form::password("admin", NEW)).await);
}

/// The same secrets as header fields and data of HTTP/2.
async fn over_http2(server: &Grantd, secrets: &mut Secrets) {
    let http2 = Http2::to(server.url()).await;
    let login = http2.send(http2.login(), Form::password("maria", OTHER).encode()).await.unwrap();
    let body: Value = serde_json::from_slice(&login.body).unwrap();
    assert_eq!(login.status, 200, "{body}");
    for name in ["access_token", "refresh_token", "device_token"] {
        secrets.add("a secret of a response over HTTP/2", body[name].as_str().unwrap());
    }
    let token = body["access_token"].as_str().unwrap();
    let me = http2.request("GET", "/users/me").header("authorization", format!("Bearer {token}"));
    assert_eq!(http2.send(me.body(()).unwrap(), "").await.unwrap().status, 200);
    secrets.basic("maria", OTHER);
    let basic = STANDARD.encode(format!("maria:{OTHER}"));
    let me = http2.request("GET", "/users/me").header("authorization", format!("Basic {basic}"));
    assert_eq!(http2.send(me.body(()).unwrap(), "").await.unwrap().status, 200);
}
