//! Tests against a real HTTP issuer, with a manual clock and without sleeping.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::{
    BuildError,
    api_key::key,
    issuer::fake::{FakeIssuer, revoked},
    testing::{NOW, Signer},
};

const OWNER: &str = "0199b3a0-0000-7000-8000-000000000001";
const REFUSED: AuthenticateError = AuthenticateError::ApiKey(ApiKeyError::Refused);

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Returns an issuer with an active key, and a guard that accepts its keys and has read the feed.
async fn start() -> (FakeIssuer, Guard, String) {
    let issuer = FakeIssuer::start();
    issuer.publish([Signer::eddsa("k1").jwk()]);
    issuer.introspection.set(&key(1), Some(active(&issuer, json!({}))));
    let guard = issuer.builder().follow_revocations("items", "secret").accept_api_keys().build().unwrap();
    until(|| issuer.feed.open() == 1).await;
    (issuer, guard, key(1))
}

/// Returns what the issuer says about an active key, with changes; `null` removes a member.
fn active(issuer: &FakeIssuer, changes: Value) -> Value {
    let mut answer = json!({
        "active": true, "token_type": "api_key", "iss": issuer.url(), "aud": issuer.url(), "jti": "key-1", "sub": OWNER,
        "username": "alice", "scope": "items:read", "iat": NOW - 100,
    });
    let Value::Object(changes) = changes else { panic!("objects only") };
    for (name, value) in changes {
        answer[name] = value;
    }
    answer.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    answer
}

fn unavailable(retry_after: u32) -> AuthenticateError {
    AuthenticateError::Unavailable { retry_after }
}

#[actix_web::test]
async fn a_key_has_the_claims_of_its_introspection() {
    let (issuer, guard, key) = start().await;
    let claims = guard.authenticate(&key).await.unwrap();
    let expected = json!({
        "iss": issuer.url(), "aud": issuer.url(), "sub": OWNER, "username": "alice", "scope": "items:read",
        "iat": NOW - 100, "exp": Claims::NO_EXPIRY, "jti": "key-1", "client_id": "key-1",
    });
    assert_eq!(serde_json::to_value(&*claims).unwrap(), expected);
    assert!(claims.is_api_key());
    // `items:secret`.
    assert_eq!(issuer.introspection.asked(), [("Basic aXRlbXM6c2VjcmV0".to_owned(), key)]);
    let token = Signer::eddsa("k1").token(issuer.claims());
    assert!(guard.authenticate(&token).await.is_err());
    assert_eq!(issuer.introspection.hits(), 1, "tokens are verified offline");
}

#[actix_web::test]
async fn only_active_keys_of_the_issuer_for_the_service_are_accepted() {
    let (issuer, guard, key) = start().await;
    let other = "https://other.example";
    for (changes, expected) in [
        (json!({"aud": [other, issuer.url()], "exp": NOW + 1, "scope": null, "username": null}), Ok(())),
        (json!({"active": false}), Err(ApiKeyError::Refused)),
        (json!({"token_type": "Bearer"}), Err(ApiKeyError::Refused)),
        (json!({"token_type": null}), Err(ApiKeyError::Refused)),
        (json!({"iss": other}), Err(ApiKeyError::Refused)),
        (json!({"iss": null}), Err(ApiKeyError::Refused)),
        (json!({"sub": ""}), Err(ApiKeyError::Refused)),
        (json!({"jti": null}), Err(ApiKeyError::Refused)),
        (json!({"aud": null}), Err(ApiKeyError::Refused)),
        (json!({"aud": other}), Err(ApiKeyError::WrongAudience)),
        (json!({"aud": []}), Err(ApiKeyError::WrongAudience)),
        (json!({"exp": NOW}), Err(ApiKeyError::Expired)),
    ] {
        let guard = issuer.builder().follow_revocations("items", "secret").accept_api_keys().build().unwrap();
        issuer.introspection.set(&key, Some(active(&issuer, changes.clone())));
        let verdict = guard.authenticate(&key).await.map(drop);
        assert_eq!(verdict, expected.map_err(AuthenticateError::ApiKey), "{changes}");
    }
    drop(guard);
}

#[actix_web::test]
async fn a_wrong_checksum_costs_no_request() {
    let (issuer, guard, key) = start().await;
    let typo = key.replace("0000", "0010");
    for wrong in ["grk_", &key[..52], &typo, &key.to_lowercase()] {
        assert_eq!(guard.authenticate(wrong).await, Err(ApiKeyError::Malformed.into()), "{wrong}");
        #[cfg(feature = "actix")]
        assert_eq!(guard.authenticate_at_once(wrong), Some(Err(ApiKeyError::Malformed.into())));
    }
    assert_eq!(issuer.introspection.hits(), 0);
}

#[actix_web::test]
async fn an_accepted_key_is_cached_for_30_seconds_and_a_refused_one_for_5() {
    let (issuer, guard, good) = start().await;
    let bad = key(2);
    guard.authenticate(&good).await.unwrap();
    assert_eq!(guard.authenticate(&bad).await, Err(REFUSED));
    assert_eq!(issuer.introspection.hits(), 2);
    issuer.introspection.set(&good, None);
    issuer.introspection.set(&bad, Some(active(&issuer, json!({"jti": "key-2"}))));
    issuer.advance(4);
    assert_eq!(guard.authenticate(&bad).await, Err(REFUSED));
    issuer.advance(1);
    guard.authenticate(&bad).await.unwrap();
    issuer.advance(24);
    guard.authenticate(&good).await.unwrap();
    #[cfg(feature = "actix")]
    assert!(guard.authenticate_at_once(&good).unwrap().is_ok());
    assert_eq!(issuer.introspection.hits(), 3);
    issuer.advance(1);
    #[cfg(feature = "actix")]
    assert_eq!(guard.authenticate_at_once(&good), None);
    assert_eq!(guard.authenticate(&good).await, Err(REFUSED));
    issuer.introspection.set(&good, Some(active(&issuer, json!({}))));
    // A clock that is set back does not prolong a verdict.
    issuer.advance(-1000);
    guard.authenticate(&good).await.unwrap();
}

#[actix_web::test]
async fn a_cached_key_expires() {
    let (issuer, guard, key) = start().await;
    issuer.introspection.set(&key, Some(active(&issuer, json!({"exp": NOW + 10}))));
    guard.authenticate(&key).await.unwrap();
    issuer.advance(9);
    guard.authenticate(&key).await.unwrap();
    issuer.advance(1);
    assert_eq!(guard.authenticate(&key).await, Err(ApiKeyError::Expired.into()));
    assert_eq!(issuer.introspection.hits(), 1);
}

#[actix_web::test]
async fn concurrent_requests_with_a_key_share_one_introspection() {
    let (issuer, guard, one) = start().await;
    guard.authenticate(&key(2)).await.unwrap_err();
    issuer.hold();
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let (guard, one) = (guard.clone(), one.clone());
        requests.spawn(async move { guard.authenticate(&one).await });
    }
    until(|| issuer.introspection.hits() == 2).await;
    // The request that started it is dropped: the others get its result all the same.
    let dropped = tokio::spawn({
        let guard = guard.clone();
        async move { guard.authenticate(&key(3)).await }
    });
    until(|| issuer.introspection.hits() == 3).await;
    dropped.abort();
    issuer.release();
    assert!(requests.join_all().await.into_iter().all(|verdict| verdict.is_ok()));
    assert_eq!(guard.authenticate(&key(3)).await, Err(REFUSED));
    assert_eq!(issuer.introspection.hits(), 3);
}

#[actix_web::test]
async fn the_number_of_concurrent_introspections_is_bounded() {
    let (issuer, guard, one) = start().await;
    guard.authenticate(&one).await.unwrap();
    issuer.hold();
    let mut requests = JoinSet::new();
    for number in 2..u32::try_from(MAX_FLIGHTS).unwrap() + 2 {
        let guard = guard.clone();
        requests.spawn(async move { guard.authenticate(&key(number)).await });
    }
    let api_keys = guard.source().unwrap().api_keys.as_ref().unwrap();
    until(|| api_keys.state().flights.len() == MAX_FLIGHTS && issuer.introspection.hits() == CONCURRENT + 1).await;
    assert_eq!(guard.authenticate(&key(0)).await, Err(unavailable(1)));
    guard.authenticate(&one).await.unwrap();
    assert_eq!((api_keys.permits.available_permits(), issuer.introspection.hits()), (0, CONCURRENT + 1));
    requests.shutdown().await;
    issuer.release();
    until(|| api_keys.state().flights.is_empty()).await;
}

#[actix_web::test]
async fn a_revocation_in_the_feed_drops_the_cached_verdict() {
    for item in [revoked("token", "key-1"), revoked("session", "key-1"), revoked("user", OWNER)] {
        let (issuer, guard, key) = start().await;
        guard.authenticate(&key).await.unwrap();
        issuer.introspection.set(&key, None);
        let before = guard.last_update();
        issuer.feed.add([revoked("token", "key-2"), revoked("session", OWNER), revoked("client", "key-1")]);
        until(|| guard.last_update() > before).await;
        guard.authenticate(&key).await.unwrap();
        let before = guard.last_update();
        issuer.feed.add([item.clone()]);
        until(|| guard.last_update() > before).await;
        until(|| guard.source().unwrap().verdict_on_api_key(&guard, &key).is_none()).await;
        assert_eq!(guard.authenticate(&key).await, Err(REFUSED), "{item}");
        assert_eq!(issuer.introspection.hits(), 2);

        // The owner was enabled again: the revocation is older than the new verdict.
        issuer.introspection.set(&key, Some(active(&issuer, json!({}))));
        issuer.advance(MAX_AGE_REFUSED);
        for _ in 0..2 {
            guard.authenticate(&key).await.unwrap();
        }
        assert_eq!(issuer.introspection.hits(), 3);
    }
}

#[actix_web::test]
async fn a_verdict_from_before_a_revocation_is_not_used() {
    let (issuer, guard, one) = start().await;
    guard.authenticate(&key(2)).await.unwrap_err();
    issuer.hold();
    let request = tokio::spawn({
        let (guard, one) = (guard.clone(), one.clone());
        async move { guard.authenticate(&one).await }
    });
    until(|| issuer.introspection.hits() == 2).await;
    // The key is deleted after the issuer has computed its answer, which is on its way.
    issuer.introspection.set(&one, None);
    let before = guard.last_update();
    issuer.feed.add([revoked("token", "key-1")]);
    until(|| guard.last_update() > before).await;
    issuer.release();
    assert_eq!(request.await.unwrap(), Err(REFUSED));
    assert_eq!(guard.authenticate(&one).await, Err(REFUSED));
    assert_eq!(issuer.introspection.hits(), 3);
}

#[actix_web::test]
async fn while_the_issuer_is_away_cached_keys_count_and_others_get_503() {
    let (mut issuer, guard, one) = start().await;
    guard.authenticate(&one).await.unwrap();
    for status in [500, 503, 401, 429] {
        issuer.introspection.set_status(status);
        let before = issuer.introspection.hits();
        assert_eq!(guard.authenticate(&key(2)).await, Err(unavailable(1)), "{status}");
        assert_eq!(guard.authenticate(&key(3)).await, Err(unavailable(2)), "within the cool-down");
        issuer.advance(1);
        assert_eq!(guard.authenticate(&key(3)).await, Err(unavailable(1)));
        assert_eq!(issuer.introspection.hits(), before + 1);
        guard.authenticate(&one).await.unwrap();
        issuer.advance(1);
    }
    issuer.stop().await;
    issuer.advance(21);
    guard.authenticate(&one).await.unwrap();
    issuer.advance(1);
    assert_eq!(guard.authenticate(&one).await, Err(unavailable(1)));

    issuer.introspection.set_status(200);
    issuer.serve();
    issuer.advance(COOL_DOWN);
    guard.authenticate(&one).await.unwrap();
    assert_eq!(guard.authenticate(&key(2)).await, Err(REFUSED));
}

#[actix_web::test]
async fn keys_are_not_accepted_by_default() {
    let issuer = FakeIssuer::start();
    let follower = issuer.builder().follow_revocations("items", "secret").build().unwrap();
    for guard in [crate::testing::guard([]), issuer.builder().build().unwrap(), follower] {
        for key in [&key(1), "grk_x"] {
            assert_eq!(guard.authenticate(key).await, Err(ApiKeyError::NotAccepted.into()));
            #[cfg(feature = "actix")]
            assert_eq!(guard.authenticate_at_once(key), Some(Err(ApiKeyError::NotAccepted.into())));
        }
    }
    assert_eq!((issuer.introspection.hits(), issuer.hits().1), (0, 0));
}

#[test]
fn accepting_keys_requires_a_client_and_an_issuer() {
    let issuer = || Guard::from_issuer("https://id.example").audience("a").accept_api_keys();
    assert!(matches!(issuer().build(), Err(BuildError::CannotIntrospect)));
    assert!(matches!(issuer().keys(&crate::testing::jwk_set([])), Err(BuildError::CannotIntrospect)));
}
