//! Tests of the responses: status, challenge, body. Each request goes to the same service in actix-web and in axum, whose
//! responses must be equal.

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use crate::{
    ApiKeyError, CredentialsError, Guard, Refusal, actix, axum,
    testing::{AUDIENCE, ISSUER, NOW, Signer, guard, jwk_set},
};

#[cfg(feature = "issuer")]
mod api_keys;
mod in_actix;
mod in_axum;

crate::scopes! {
    ItemsRead = "items:read";
    ItemsWrite = "items:write";
}

/// A response.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    challenge: Option<String>,
    retry_after: Option<String>,
    problem: Value,
}

impl Seen {
    fn new(status: u16, header: impl Fn(&str) -> Option<String>, body: &[u8]) -> Self {
        let problem = if status < 300 {
            Value::Null
        } else {
            assert_eq!(header(CONTENT_TYPE.as_str()).as_deref(), Some("application/problem+json"));
            serde_json::from_slice(body).unwrap()
        };
        let (challenge, retry_after) = (header(WWW_AUTHENTICATE.as_str()), header(RETRY_AFTER.as_str()));
        Self { status, challenge, retry_after, problem }
    }
}

/// Sends a request with these `Authorization` headers to a service with this guard.
async fn send(guard: Option<Guard>, uri: &str, authorization: &[&str]) -> Seen {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    send_with(guard, uri, &headers).await
}

/// Sends a request with these headers to a service with this guard.
async fn send_with(guard: Option<Guard>, uri: &str, headers: &[(&str, &str)]) -> Seen {
    let seen = in_actix::send(in_actix::service(guard.as_ref()), uri, headers).await;
    assert_eq!(in_axum::send(in_axum::service(guard.as_ref()), uri, headers).await, seen, "axum, actix-web");
    seen
}

/// Asserts that a request was refused for this reason.
fn assert_refused(seen: &Seen, refusal: &Refusal) {
    assert_eq!(seen.status, refusal.status());
    assert_eq!(seen.challenge, refusal.challenge("grantd"));
    assert_eq!(seen.problem["type"], refusal.problem_type());
    assert_eq!(seen.problem["detail"], refusal.detail());
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
    let keys = jwk_set([signer.jwk()]);
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
    for (value, token) in [(&b"Bearer \xFF"[..], Err(CredentialsError::Malformed)), (b"\xFF", Ok(None))] {
        let mut headers = actix_web::http::header::HeaderMap::new();
        headers.insert(AUTHORIZATION, actix_web::http::header::HeaderValue::from_bytes(value).unwrap());
        assert_eq!(actix::bearer_token(&headers, ""), token);
        let mut headers = ::axum::http::HeaderMap::new();
        headers.insert("authorization", ::axum::http::HeaderValue::from_bytes(value).unwrap());
        assert_eq!(axum::bearer_token(&headers, ""), token);
    }
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
    let authorization = format!("Bearer {}", signer.token(json!({})));
    // Without a guard of their own, the extractors can only use the claims of the middleware.
    let actix = in_actix::wrapped(&guard, None);
    let headers = [("authorization", &*authorization)];
    assert_eq!(in_actix::send(actix, "/read", &headers).await.status, 200);
    assert_eq!(in_axum::send(in_axum::wrapped(&guard, None), "/read", &headers).await.status, 200);
}

#[actix_web::test]
async fn claims_of_another_guard_are_not_used() {
    let (outer, inner) = (Signer::es256("k1"), Signer::es256("k2"));
    let (outer_guard, inner_guard) = (guard([outer.jwk()]), guard([inner.jwk()]));
    let authorization = format!("Bearer {}", outer.token(json!({})));
    let headers = [("authorization", &*authorization)];
    let actix = in_actix::wrapped(&outer_guard, Some(&inner_guard));
    assert_eq!(in_actix::send(actix, "/read", &headers).await.status, 401);
    let axum = in_axum::wrapped(&outer_guard, Some(&inner_guard));
    assert_eq!(in_axum::send(axum, "/read", &headers).await.status, 401);
}

#[actix_web::test]
async fn a_guard_that_does_not_accept_api_keys_refuses_those_of_grantd() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let token = format!("Bearer {}", signer.token(json!({})));
    for header in [("x-api-key", "grk_x"), ("authorization", "Bearer grk_x")] {
        let seen = send_with(Some(guard.clone()), "/anyone", &[header]).await;
        assert_refused(&seen, &ApiKeyError::NotAccepted.into());
    }
    let two = [("authorization", &*token), ("x-api-key", "grk_x")];
    assert_refused(&send_with(Some(guard.clone()), "/anyone", &two).await, &CredentialsError::TwoPlaces.into());
    // The header of a gateway in front of the service.
    let gateway = [("authorization", &*token), ("x-api-key", "k-123")];
    assert_eq!(send_with(Some(guard.clone()), "/anyone", &gateway).await.status, 200);
    assert_refused(&send_with(Some(guard), "/anyone", &gateway[1..]).await, &Refusal::NoCredentials);
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
