//! The tests of both services, over HTTP. Each example brings `serve`.

use grantd_guard::{
    ApiKeyError, CredentialsError, Refusal, TokenError,
    testing::{self, Signer, Token},
};
use reqwest::{
    Method, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
};

use super::*;

/// A service on a free port, and a key whose tokens it accepts.
struct Service {
    signer: Signer,
    url: String,
    http: reqwest::Client,
}

#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    content_type: String,
    challenge: Option<String>,
    body: Value,
}

impl Service {
    /// Starts a service in the runtime of the test.
    fn start() -> Self {
        let signer = Signer::es256("k1");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(testing::guard([signer.jwk()]), listener).unwrap());
        Self { signer, url, http: reqwest::Client::new() }
    }

    fn request(&self, method: Method, path: &str, token: Option<&Token>) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.sign(&self.signer))),
            None => request,
        }
    }

    async fn get(&self, path: &str, token: Option<&Token>) -> Seen {
        send(self.request(Method::GET, path, token)).await
    }

    async fn post(&self, content_type: &str, body: &str) -> Seen {
        let request = self.request(Method::POST, "/items", Some(&writer())).header(CONTENT_TYPE, content_type);
        send(request.body(body.to_owned())).await
    }
}

async fn send(request: RequestBuilder) -> Seen {
    let answer = request.send().await.unwrap();
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, challenge) = (answer.status().as_u16(), header(WWW_AUTHENTICATE));
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    Seen { status, content_type, challenge, body: answer.json().await.unwrap() }
}

fn reader() -> Token {
    Token::of_client("robot").scope("items:read")
}

fn writer() -> Token {
    Token::of_client("robot").scope("items:write")
}

fn json_of(status: u16, body: Value) -> Seen {
    Seen { status, content_type: "application/json".to_owned(), challenge: None, body }
}

/// Returns the response to a request that the guard refuses.
fn refused(refusal: &Refusal) -> Seen {
    Seen {
        status: refusal.status(),
        content_type: "application/problem+json".to_owned(),
        challenge: refusal.challenge("grantd"),
        body: json!({
            "type": refusal.problem_type(), "title": refusal.title(), "status": refusal.status(),
            "detail": refusal.detail(),
        }),
    }
}

#[tokio::test]
async fn users_and_clients_are_greeted() {
    let service = Service::start();
    for (token, name) in [(Token::of_user("alice"), "alice"), (Token::of_client("robot"), "robot")] {
        let greeting = json!({"message": format!("Hello, {name}! You are authenticated.")});
        assert_eq!(service.get("/protected", Some(&token)).await, json_of(200, greeting));
    }
}

#[tokio::test]
async fn added_items_are_listed() {
    let service = Service::start();
    let item = json!({"id": 1, "name": "Brush", "price": 2.5});
    let answer = service.post("application/json; charset=utf-8", r#"{"name": "Brush", "price": 2.5}"#).await;
    assert_eq!(answer, json_of(201, item.clone()));
    let all = json!({"items": [item], "next_cursor": null});
    assert_eq!(service.get("/items", Some(&reader())).await, json_of(200, all));
}

#[tokio::test]
async fn all_invalid_fields_are_reported_together() {
    let service = Service::start();
    let long = json!({"name": "ä".repeat(101), "price": 0}).to_string();
    for (body, name, price) in [
        ("{}", "required", "required"),
        (r#"{"name": null, "price": null}"#, "required", "required"),
        (r#"{"name": "", "price": -1}"#, "length", "format"),
        (r#"{"name": 7, "price": "7"}"#, "format", "format"),
        (&long, "length", "format"),
    ] {
        let seen = service.post("application/json", body).await;
        assert_eq!((seen.status, &seen.body["type"]), (422, &json!("/problems/validation")), "{body}");
        assert_eq!(seen.content_type, "application/problem+json");
        let errors: Vec<_> =
            seen.body["errors"].as_array().unwrap().iter().map(|e| (&e["field"], &e["code"])).collect();
        assert_eq!(errors, [(&json!("name"), &json!(name)), (&json!("price"), &json!(price))], "{body}");
    }
    assert_eq!(service.get("/items", Some(&reader())).await.body["items"], json!([]));
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let service = Service::start();
    let good = r#"{"name": "a", "price": 1}"#;
    for body in ["", "{", "[]", r#"["a", 1]"#, "null", r#"{"name":"a","price":1,"x":1}"#, r#"{"name":"a","name":"b"}"#]
    {
        let seen = service.post("application/json", body).await;
        assert_eq!((seen.status, &seen.body["type"]), (400, &json!("/problems/malformed-body")), "{body}");
    }
    assert_eq!(service.post("text/plain", good).await.status, 415);
    let long = format!("{good}{}", " ".repeat(MAX_BODY_BYTES));
    assert_eq!(service.post("application/json", &long).await.status, 413);
}

#[tokio::test]
async fn requests_without_a_valid_token_are_refused() {
    let service = Service::start();
    for path in ["/protected", "/items"] {
        assert_eq!(service.get(path, None).await, refused(&Refusal::NoCredentials), "{path}");
        let expired = refused(&Refusal::Token(TokenError::Expired));
        assert_eq!(service.get(path, Some(&reader().expired())).await, expired, "{path}");
    }
    let lacking = refused(&Refusal::Scope([ItemsRead::SCOPE].into_iter().collect()));
    assert_eq!(service.get("/items", Some(&writer())).await, lacking);
    let key = service.request(Method::GET, "/items", None).header("X-API-Key", "grk_x");
    assert_eq!(send(key).await, refused(&Refusal::ApiKey(ApiKeyError::NotAccepted)));
    let two = service.request(Method::GET, "/items", Some(&reader())).header("X-API-Key", "grk_x");
    assert_eq!(send(two).await, refused(&Refusal::Credentials(CredentialsError::TwoPlaces)));
    let twice = refused(&Refusal::Credentials(CredentialsError::TwoPlaces));
    assert_eq!(service.get("/items?access_token=x", Some(&reader())).await, twice);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused() {
    let service = Service::start();
    for (method, path, status) in
        [(Method::GET, "/", 404), (Method::POST, "/protected", 405), (Method::PUT, "/items", 405)]
    {
        let answer = service.request(method, path, Some(&reader())).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[tokio::test]
async fn the_token_is_verified_before_the_body_is_read() {
    let service = Service::start();
    for (token, status) in [(None, 401), (Some(&reader()), 403)] {
        assert_eq!(send(service.request(Method::POST, "/items", token).body("{")).await.status, status);
    }
}
