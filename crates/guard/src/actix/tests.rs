//! Tests of the responses: status, challenge, body.

use actix_web::{
    App, HttpResponse,
    http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    test::{TestRequest, call_service, init_service, read_body_json},
    web,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    CredentialsError, Guard,
    testing::{AUDIENCE, ISSUER, NOW, Signer, guard, set},
};

crate::scopes! {
    pub(super) ItemsRead = "items:read";
    pub(super) ItemsWrite = "items:write";
}

async fn anyone(caller: Authenticated) -> String {
    caller.claims().username.clone().unwrap_or_else(|| caller.client_id.clone())
}

async fn read(caller: Require<ItemsRead>) -> String {
    caller.sub.clone()
}

async fn both(_: Require<(ItemsRead, ItemsWrite)>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.route("/anyone", web::get().to(anyone)).route("/read", web::get().to(read));
    config.route("/both", web::get().to(both));
}

struct Seen {
    status: u16,
    challenge: Option<String>,
    retry_after: Option<String>,
    problem: Value,
}

/// Sends a request with these `Authorization` headers to a service with this guard.
async fn send(guard: Option<Guard>, uri: &str, authorization: &[&str]) -> Seen {
    let mut app = App::new().configure(routes);
    if let Some(guard) = &guard {
        app = app.app_data(guard.clone());
        app = app
            .service(web::scope("/wrapped").wrap(guard.require("items:read items:write").unwrap()).configure(routes));
        app = app.service(web::scope("/any").wrap(guard.require("").unwrap()).configure(routes));
    }
    let app = init_service(app).await;
    let mut request = TestRequest::get().uri(uri);
    for value in authorization {
        request = request.append_header((AUTHORIZATION, *value));
    }
    let answer = call_service(&app, request.to_request()).await;
    let text = |name: HeaderName| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, challenge, retry_after) = (answer.status().as_u16(), text(WWW_AUTHENTICATE), text(RETRY_AFTER));
    let problem = if answer.status().is_success() {
        Value::Null
    } else {
        assert_eq!(text(CONTENT_TYPE).as_deref(), Some("application/problem+json"));
        read_body_json(answer).await
    };
    Seen { status, challenge, retry_after, problem }
}

#[actix_web::test]
async fn valid_tokens_are_accepted() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let some = format!("Bearer {}", signer.token(json!({})));
    let all = format!("bEARER   {}", signer.token(json!({"scope": "items:read items:write"})));
    for (uri, authorization) in [
        ("/anyone", &some),
        ("/read", &some),
        ("/both", &all),
        ("/any/read", &some),
        ("/wrapped/both", &all),
        ("/wrapped/anyone", &all),
        ("/read?x=access_token", &some),
    ] {
        assert!(send(Some(guard.clone()), uri, &[authorization]).await.status < 300, "{uri}");
    }
}

#[actix_web::test]
async fn without_credentials_the_challenge_has_no_error() {
    for uri in ["/anyone", "/read", "/both", "/wrapped/read", "/any/anyone", "/read?access_token=x"] {
        for authorization in [&[][..], &["Basic YTpi"], &["Digest x"], &["Bearerx y"]] {
            let seen = send(Some(guard([])), uri, authorization).await;
            assert_eq!(seen.status, 401);
            assert_eq!(seen.challenge.as_deref(), Some(r#"Bearer realm="grantd""#));
            let problem = json!({
                "type": "/problems/unauthorized", "title": "Authentication required", "status": 401,
                "detail": "no access token was sent",
            });
            assert_eq!(seen.problem, problem);
        }
    }
}

#[actix_web::test]
async fn invalid_tokens_get_the_reason() {
    let signer = Signer::es256("k1");
    let authorization = format!("Bearer {}", signer.token(json!({"exp": NOW})));
    for uri in ["/anyone", "/both", "/wrapped/read"] {
        let seen = send(Some(guard([signer.jwk()])), uri, &[&authorization]).await;
        assert_eq!(seen.status, 401);
        let challenge = r#"Bearer realm="grantd", error="invalid_token", error_description="the token expired""#;
        assert_eq!(seen.challenge.as_deref(), Some(challenge));
        assert_eq!(seen.problem["type"], "/problems/invalid-token");
        assert_eq!(seen.problem["detail"], "the token expired");
    }
}

#[actix_web::test]
async fn a_missing_scope_is_named() {
    let signer = Signer::es256("k1");
    let keys = set([signer.jwk()]);
    let guard = Guard::builder(ISSUER).audience(AUDIENCE).realm("items").clock(|| NOW).keys(&keys).unwrap();
    let authorization = format!("Bearer {}", signer.token(json!({"scope": "items:reader Items:read"})));
    for (uri, needed) in
        [("/read", "items:read"), ("/both", "items:read items:write"), ("/wrapped/anyone", "items:read items:write")]
    {
        let seen = send(Some(guard.clone()), uri, &[&authorization]).await;
        assert_eq!(seen.status, 403);
        let challenge = format!(r#"Bearer realm="items", error="insufficient_scope", scope="{needed}""#);
        assert_eq!(seen.challenge, Some(challenge));
        assert_eq!(seen.problem["type"], "/problems/insufficient-scope");
    }
}

#[actix_web::test]
async fn repeated_and_malformed_credentials_are_refused() {
    let signer = Signer::es256("k1");
    let good = format!("Bearer {}", signer.token(json!({})));
    let good = good.as_str();
    let requests: [(&str, &[&str]); 8] = [
        ("/anyone", &[good, good]),
        ("/anyone", &[good, "Basic YTpi"]),
        ("/anyone?access_token=x", &[good]),
        ("/anyone?a=b&access_token", &[good]),
        ("/anyone", &["Bearer"]),
        ("/anyone", &["Bearer a b"]),
        ("/wrapped/anyone", &["Bearer ==="]),
        ("/anyone", &["bearer \"x\""]),
    ];
    for (uri, authorization) in requests {
        let seen = send(Some(guard([signer.jwk()])), uri, authorization).await;
        assert_eq!(seen.status, 400, "{uri} {authorization:?}");
        assert!(seen.challenge.unwrap().starts_with(r#"Bearer realm="grantd", error="invalid_request", error_desc"#));
        assert_eq!(seen.problem["type"], "/problems/invalid-request");
    }
}

#[test]
fn bytes_that_are_not_text_are_malformed() {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xFF").unwrap());
    assert_eq!(bearer_token(&headers, ""), Err(CredentialsError::Malformed));
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"\xFF").unwrap());
    assert_eq!(bearer_token(&headers, ""), Ok(None));
}

#[actix_web::test]
async fn a_service_without_a_guard_refuses_every_request() {
    let seen = send(None, "/anyone", &["Bearer x"]).await;
    assert_eq!((seen.status, seen.challenge, seen.retry_after), (500, None, None));
    assert_eq!(seen.problem["type"], "/problems/internal");
}

#[actix_web::test]
async fn extractors_use_the_claims_of_the_middleware() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let scope = web::scope("").wrap(guard.require("items:read").unwrap());
    // Without `app_data`, the extractor can only use the claims of the middleware.
    let app = init_service(App::new().service(scope.route("/read", web::get().to(read)))).await;
    let request =
        TestRequest::get().uri("/read").insert_header((AUTHORIZATION, format!("Bearer {}", signer.token(json!({})))));
    assert_eq!(call_service(&app, request.to_request()).await.status(), 200);
}

#[actix_web::test]
async fn claims_of_another_guard_are_not_used() {
    let (outer, inner) = (Signer::es256("k1"), Signer::es256("k2"));
    let (outer_guard, inner_guard) = (guard([outer.jwk()]), guard([inner.jwk()]));
    let scope = web::scope("").app_data(inner_guard).route("/read", web::get().to(read));
    let app = init_service(App::new().service(scope.wrap(outer_guard.require("").unwrap()))).await;
    let request =
        TestRequest::get().uri("/read").insert_header((AUTHORIZATION, format!("Bearer {}", outer.token(json!({})))));
    assert_eq!(call_service(&app, request.to_request()).await.status(), 401);
}

#[test]
fn a_middleware_without_a_valid_scope_is_refused() {
    assert!(guard([]).require("items:read \"").is_err());
}

#[cfg(feature = "issuer")]
#[actix_web::test]
async fn until_the_issuer_is_reached_the_answer_is_503() {
    let mut issuer = crate::issuer::fake::FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    issuer.stop().await;
    let guard = issuer.builder().build().unwrap();
    let mut claims = issuer.claims();
    claims["scope"] = json!("items:read items:write");
    let authorization = format!("Bearer {}", signer.token(claims));
    for uri in ["/anyone", "/wrapped/read"] {
        let seen = send(Some(guard.clone()), uri, &[&authorization]).await;
        assert_eq!((seen.status, seen.challenge, seen.retry_after.as_deref()), (503, None, Some("10")));
        assert_eq!(seen.problem["type"], "/problems/unavailable");
    }
    // Malformed credentials are refused without any key.
    assert_eq!(send(Some(guard.clone()), "/anyone", &[]).await.status, 401);
    assert_eq!(send(Some(guard.clone()), "/anyone", &["Bearer x"]).await.status, 401);
    issuer.serve();
    for uri in ["/anyone", "/wrapped/both"] {
        issuer.advance(10);
        assert!(send(Some(guard.clone()), uri, &[&authorization]).await.status < 300);
    }
}
