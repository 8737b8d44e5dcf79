use actix_web::{
    http::header::{AUTHORIZATION, CONTENT_TYPE},
    test::{TestRequest, call_service, init_service, read_body},
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};

use super::*;

const NOW: i64 = 1_800_000_000;

/// A service, and the key of its issuer.
struct Service {
    key: EncodingKey,
    guard: Guard,
    items: web::Data<Items>,
}

impl Service {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("k1".to_owned());
        let keys = JwkSet { keys: vec![jwk] };
        let guard = Guard::builder("iss").audience("aud").clock(|| NOW).keys(&keys).unwrap();
        Self { key, guard, items: web::Data::new(Items::default()) }
    }

    fn token(&self, scope: &str, username: Option<&str>) -> String {
        let header =
            Header { kid: Some("k1".to_owned()), typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::ES256) };
        let mut claims = json!({
            "iss": "iss", "aud": "aud", "sub": "s", "client_id": "robot", "jti": "j", "iat": NOW, "exp": NOW + 60,
            "scope": scope,
        });
        if let Some(name) = username {
            claims["username"] = json!(name);
        }
        format!("Bearer {}", encode(&header, &claims, &self.key).unwrap())
    }

    async fn send(&self, request: TestRequest) -> (u16, Value) {
        let app = App::new().app_data(self.guard.clone()).app_data(self.items.clone()).configure(routes);
        let answer = call_service(&init_service(app).await, request.to_request()).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&read_body(answer).await).unwrap())
    }

    async fn post(&self, content_type: &str, body: &str) -> (u16, Value) {
        let request = TestRequest::post()
            .uri("/items")
            .insert_header((AUTHORIZATION, self.token("items:write", None)))
            .insert_header((CONTENT_TYPE, content_type))
            .set_payload(body.to_owned());
        self.send(request).await
    }
}

#[actix_web::test]
async fn users_and_clients_are_greeted() {
    let service = Service::new();
    for (username, name) in [(Some("alice"), "alice"), (None, "robot")] {
        let request = TestRequest::get().uri("/protected").insert_header((AUTHORIZATION, service.token("", username)));
        let greeting = json!({"message": format!("Hello, {name}! You are authenticated.")});
        assert_eq!(service.send(request).await, (200, greeting));
    }
}

#[actix_web::test]
async fn added_items_are_listed() {
    let service = Service::new();
    let (status, item) = service.post("application/json; charset=utf-8", r#"{"name": "Brush", "price": 2.5}"#).await;
    assert_eq!((status, &item), (201, &json!({"id": 1, "name": "Brush", "price": 2.5})));
    let request = TestRequest::get().uri("/items").insert_header((AUTHORIZATION, service.token("items:read", None)));
    assert_eq!(service.send(request).await, (200, json!({"items": [item], "next_cursor": null})));
}

#[actix_web::test]
async fn all_invalid_fields_are_reported_together() {
    let service = Service::new();
    let long = json!({"name": "ä".repeat(101), "price": 0}).to_string();
    for (body, name, price) in [
        ("{}", "required", "required"),
        (r#"{"name": null, "price": null}"#, "required", "required"),
        (r#"{"name": "", "price": -1}"#, "length", "format"),
        (r#"{"name": 7, "price": "7"}"#, "format", "format"),
        (&long, "length", "format"),
    ] {
        let (status, problem) = service.post("application/json", body).await;
        assert_eq!((status, &problem["type"]), (422, &json!("/problems/validation")), "{body}");
        let errors: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| (&e["field"], &e["code"])).collect();
        assert_eq!(errors, [(&json!("name"), &json!(name)), (&json!("price"), &json!(price))], "{body}");
    }
    assert!(service.items.all().is_empty());
}

#[actix_web::test]
async fn malformed_bodies_are_refused() {
    let service = Service::new();
    let good = r#"{"name": "a", "price": 1}"#;
    for body in ["", "{", "[]", r#"["a", 1]"#, "null", r#"{"name":"a","price":1,"x":1}"#, r#"{"name":"a","name":"b"}"#]
    {
        assert_eq!(service.post("application/json", body).await.0, 400, "{body}");
    }
    assert_eq!(service.post("text/plain", good).await.0, 415);
    assert_eq!(service.post("application/json", &format!("{good}{}", " ".repeat(70_000))).await.0, 413);
}

#[actix_web::test]
async fn the_token_is_verified_before_the_body_is_read() {
    let service = Service::new();
    for (authorization, status) in [(None, 401), (Some(service.token("items:read", None)), 403)] {
        let mut request = TestRequest::post().uri("/items").set_payload("{");
        if let Some(authorization) = authorization {
            request = request.insert_header((AUTHORIZATION, authorization));
        }
        assert_eq!(service.send(request).await.0, status);
    }
}
