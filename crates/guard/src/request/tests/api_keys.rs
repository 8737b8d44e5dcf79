//! Requests with API keys.

use super::*;
use crate::{api_key::key, issuer::fake::FakeIssuer};

/// Returns an issuer with two keys, of which one has no scope, and a guard that accepts them.
fn start() -> (FakeIssuer, Guard) {
    let issuer = FakeIssuer::start();
    issuer.publish([Signer::eddsa("k1").jwk()]);
    for (number, scope) in [(1, "items:read items:write"), (2, "")] {
        let answer = json!({
            "active": true, "token_type": "api_key", "iss": issuer.url(), "aud": issuer.url(), "jti": "key-1",
            "sub": "u1", "username": "alice", "scope": scope, "iat": NOW,
        });
        issuer.introspection.set(&key(number), Some(answer));
    }
    let guard = issuer.builder().follow_revocations("items", "secret").accept_api_keys().build().unwrap();
    (issuer, guard)
}

#[actix_web::test]
async fn a_key_is_accepted_in_both_headers() {
    let (issuer, guard) = start();
    let (bearer, padded) = (format!("Bearer {}", key(1)), format!("  {} ", key(1)));
    for header in [("x-api-key", &*key(1)), ("authorization", &bearer), ("x-api-key", &padded)] {
        for uri in ["/anyone", "/read", "/both", "/any/read", "/wrapped/both"] {
            assert!(send_with(Some(guard.clone()), uri, &[header]).await.status < 300, "{header:?} {uri}");
        }
    }
    assert_eq!(issuer.introspection.hits(), 1);
}

#[actix_web::test]
async fn a_key_needs_the_scopes_of_the_route() {
    let (_issuer, guard) = start();
    let header = [("x-api-key", &*key(2))];
    assert_eq!(send_with(Some(guard.clone()), "/anyone", &header).await.status, 200);
    for (uri, needed) in [("/read", "items:read"), ("/wrapped/anyone", "items:read items:write")] {
        let seen = send_with(Some(guard.clone()), uri, &header).await;
        assert_refused(&seen, &Refusal::Scope(needed.parse().unwrap()));
    }
}

#[actix_web::test]
async fn refused_keys_get_the_reason() {
    let (issuer, guard) = start();
    let (unknown, typo) = (key(3), key(1).replace("grk_0", "grk_1"));
    let token = Signer::eddsa("k1").token(json!({}));
    for uri in ["/anyone", "/wrapped/both"] {
        for (key, error) in [
            (&*unknown, ApiKeyError::Refused),
            (&typo, ApiKeyError::Malformed),
            ("k-123", ApiKeyError::Malformed),
            ("", ApiKeyError::Malformed),
            // A token is not accepted in this header.
            (&token, ApiKeyError::Malformed),
        ] {
            let seen = send_with(Some(guard.clone()), uri, &[("x-api-key", key)]).await;
            assert_refused(&seen, &error.into());
        }
    }
    assert_eq!(issuer.introspection.hits(), 1);
}

#[actix_web::test]
async fn two_credentials_are_refused() {
    let (issuer, guard) = start();
    let one = key(1);
    let (one, token) = (("x-api-key", &*one), format!("Bearer {}", Signer::eddsa("k1").token(issuer.claims())));
    let bearer = format!("Bearer {}", key(1));
    for headers in [
        &[one, one][..],
        &[one, ("x-api-key", "")],
        &[one, ("authorization", &token)],
        &[one, ("authorization", &bearer)],
        &[one, ("authorization", "Basic YTpi")],
        &[("x-api-key", "k-123"), ("authorization", &token)],
        &[("authorization", &bearer), ("authorization", &token)],
    ] {
        for uri in ["/anyone", "/wrapped/read"] {
            let seen = send_with(Some(guard.clone()), uri, headers).await;
            assert_refused(&seen, &CredentialsError::TwoPlaces.into());
        }
    }
    assert_eq!(issuer.introspection.hits(), 0);
    // Not a credential of this issuer.
    assert_eq!(send_with(Some(guard), "/anyone", &[one, ("authorization", "Negotiate x")]).await.status, 200);
}

#[actix_web::test]
async fn while_the_issuer_is_away_the_answer_is_503() {
    let (issuer, guard) = start();
    issuer.introspection.set_status(500);
    for uri in ["/anyone", "/wrapped/both"] {
        issuer.advance(10);
        let seen = in_actix::send(in_actix::service(Some(&guard)), uri, &[("x-api-key", &key(1))]).await;
        assert_eq!((seen.status, seen.challenge, seen.retry_after.as_deref()), (503, None, Some("1")));
        issuer.advance(10);
        let seen = in_axum::send(in_axum::service(Some(&guard)), uri, &[("x-api-key", &key(1))]).await;
        assert_eq!((seen.status, seen.challenge, seen.retry_after.as_deref()), (503, None, Some("1")));
        assert_eq!(seen.problem["type"], "/problems/unavailable");
    }
}
