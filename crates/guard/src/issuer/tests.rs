//! Tests against a real HTTP issuer, with a manual clock and without sleeping.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use super::{fake::FakeIssuer, *};
use crate::{
    AuthenticateError, TokenError,
    testing::{NOW, Signer},
};

mod hanging;
#[cfg(feature = "opentelemetry")]
mod traces;

const UNKNOWN: AuthenticateError = AuthenticateError::Token(TokenError::UnknownKey);

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn keys_are_fetched_once() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    assert_eq!(issuer.hits(), (0, 0), "nothing is fetched before it is needed");
    for number in 0..5 {
        let mut claims = issuer.claims();
        claims["jti"] = json!(number.to_string());
        guard.authenticate(&signer.token(claims)).await.unwrap();
    }
    assert_eq!(issuer.hits(), (1, 1));
}

#[actix_web::test]
async fn an_unknown_key_id_fetches_once_per_cool_down() {
    let issuer = FakeIssuer::start();
    let (old, new) = (Signer::es256("old"), Signer::rs256("new"));
    issuer.publish([old.jwk()]);
    let guard = issuer.builder().cool_down(10).build().unwrap();
    let (of_old, of_new) = (old.token(issuer.claims()), new.token(issuer.claims()));
    guard.authenticate(&of_old).await.unwrap();

    issuer.publish([old.jwk(), new.jwk()]);
    for _ in 0..3 {
        assert_eq!(guard.authenticate(&of_new).await, Err(UNKNOWN), "within the cool-down");
    }
    assert_eq!(issuer.hits().1, 1);
    issuer.advance(10);
    guard.authenticate(&of_new).await.unwrap();
    assert_eq!(issuer.hits().1, 2);

    // Invented key ids cause one fetch per cool-down, however many tokens have them.
    issuer.advance(10);
    for kid in ["a", "b", "c"] {
        let token = Signer::eddsa(kid).token(issuer.claims());
        assert_eq!(guard.authenticate(&token).await, Err(UNKNOWN));
    }
    assert_eq!(issuer.hits().1, 3);
    guard.authenticate(&of_old).await.unwrap();
}

#[actix_web::test]
async fn concurrent_requests_share_one_fetch() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    issuer.hold();
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let (guard, token) = (guard.clone(), signer.token(issuer.claims()));
        requests.spawn(async move { guard.authenticate(&token).await });
    }
    until(|| issuer.hits().0 == 1).await;
    issuer.release();
    assert!(requests.join_all().await.into_iter().all(|verdict| verdict.is_ok()));
    assert_eq!(issuer.hits(), (1, 1));
}

#[actix_web::test]
async fn requests_wait_only_for_fetches_that_they_need() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();

    issuer.advance(10);
    issuer.hold();
    let waiting = tokio::spawn({
        let (guard, token) = (guard.clone(), Signer::eddsa("k2").token(issuer.claims()));
        async move { guard.authenticate(&token).await }
    });
    until(|| issuer.hits().0 == 2).await;
    guard.authenticate(&token).await.unwrap();
    assert!(!waiting.is_finished());
    issuer.release();
    assert_eq!(waiting.await.unwrap(), Err(UNKNOWN));
}

#[actix_web::test]
async fn a_cancelled_request_does_not_cancel_the_fetch() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    issuer.hold();
    let request = tokio::spawn({
        let (guard, token) = (guard.clone(), token.clone());
        async move { guard.authenticate(&token).await }
    });
    until(|| issuer.hits().0 == 1).await;
    request.abort();
    issuer.release();
    guard.authenticate(&token).await.unwrap();
    assert_eq!(issuer.hits(), (1, 1));
}

#[actix_web::test]
async fn a_service_starts_while_the_issuer_is_down() {
    let mut issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    issuer.stop().await;
    let guard = issuer.builder().cool_down(10).build().unwrap();
    let token = signer.token(issuer.claims());

    assert!(!guard.fetch_keys().await);
    let unavailable = guard.authenticate(&token).await.unwrap_err();
    assert_eq!(unavailable, AuthenticateError::Unavailable { retry_after: 10 });
    issuer.advance(7);
    assert_eq!(guard.authenticate(&token).await, Err(AuthenticateError::Unavailable { retry_after: 3 }));
    // A malformed token is refused without any key.
    assert_eq!(guard.authenticate("x.y").await, Err(AuthenticateError::Token(TokenError::Malformed)));

    issuer.serve();
    issuer.advance(3);
    guard.authenticate(&token).await.unwrap();
}

#[actix_web::test]
async fn old_keys_are_used_while_the_issuer_is_unreachable() {
    let mut issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();

    issuer.stop().await;
    for _ in 0..5 {
        issuer.advance(1000);
        guard.authenticate(&token).await.unwrap();
        let other = signer.token(json!({"iss": issuer.url(), "aud": issuer.url(), "exp": i64::MAX, "jti": "j2"}));
        guard.authenticate(&other).await.unwrap();
    }
}

#[actix_web::test]
async fn valid_tokens_do_not_wait_after_a_failed_fetch() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();
    issuer.script.lock().unwrap().status = 500;
    issuer.advance(600);
    guard.authenticate(&token).await.unwrap();

    issuer.hold();
    issuer.advance(10);
    guard.authenticate(&token).await.unwrap();
    until(|| issuer.hits().0 == 3).await;
    issuer.script.lock().unwrap().status = 200;
    issuer.release();
    guard.fetch_keys().await;
}

#[actix_web::test]
async fn invalid_key_sets_change_nothing() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();
    let good = issuer.script.lock().unwrap().jwks.clone();

    let mut broken = Signer::es256("k2").jwk();
    broken["x"] = json!("AAAA");
    let half = json!({"keys": [Signer::es256("k1").jwk(), broken]}).to_string();
    let long = format!("{good}{}", " ".repeat(300 * 1024));
    for garbage in ["", "<html>", "{}", "[]", "{\"keys\":[]}", "{\"keys\":{}}", &half, &long] {
        issuer.script.lock().unwrap().jwks = garbage.to_owned();
        issuer.advance(3600);
        guard.authenticate(&token).await.unwrap();
        guard.fetch_keys().await;
        guard.authenticate(&token).await.unwrap();
    }
    issuer.script.lock().unwrap().jwks = good;
    for status in [204, 302, 404, 500] {
        issuer.script.lock().unwrap().status = status;
        issuer.advance(3600);
        guard.fetch_keys().await;
        guard.authenticate(&token).await.unwrap();
    }
}

#[actix_web::test]
async fn unsupported_keys_are_skipped() {
    let issuer = FakeIssuer::start();
    let signer = Signer::eddsa("k1");
    issuer.publish([
        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AA"}),
        json!({"kid": 7}),
        signer.jwk(),
    ]);
    let guard = issuer.builder().build().unwrap();
    guard.authenticate(&signer.token(issuer.claims())).await.unwrap();
}

#[actix_web::test]
async fn a_withdrawn_key_is_removed_when_the_keys_are_stale() {
    let issuer = FakeIssuer::start();
    let (bad, good) = (Signer::es256("bad"), Signer::es256("good"));
    issuer.publish([bad.jwk(), good.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = bad.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();
    issuer.publish([good.jwk()]);
    issuer.advance(299);
    guard.authenticate(&token).await.unwrap();
    issuer.advance(1);
    guard.authenticate(&token).await.unwrap();
    until(|| guard.verify(&token, NOW + 300) == Err(TokenError::UnknownKey)).await;
    assert_eq!(guard.authenticate(&token).await, Err(UNKNOWN), "removed from the cache with its key");
    assert_eq!(issuer.hits(), (2, 2));
}

#[actix_web::test]
async fn keys_are_never_used_for_longer_than_an_hour_nor_fetched_within_the_cool_down() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let token = signer.token(issuer.claims());
    for (cache_control, good_for) in [("max-age=31536000", 3600), ("no-store", 10), ("", 300)] {
        issuer.script.lock().unwrap().cache_control = cache_control;
        let guard = issuer.builder().cool_down(10).build().unwrap();
        guard.authenticate(&token).await.unwrap();
        let before = issuer.hits();
        issuer.advance(good_for - 1);
        guard.authenticate(&token).await.unwrap();
        assert_eq!(issuer.hits(), before, "{cache_control}");
        issuer.advance(1);
        guard.authenticate(&token).await.unwrap();
        // The fetch runs in the background, and requests the keys last.
        until(|| issuer.hits().1 == before.1 + 1).await;
    }
}

#[actix_web::test]
async fn a_clock_that_is_set_back_does_not_stop_fetches() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let mut claims = issuer.claims();
    claims["iat"] = json!(0);
    let token = signer.token(claims);
    guard.authenticate(&token).await.unwrap();
    issuer.advance(-100_000);
    guard.authenticate(&token).await.unwrap();
    assert_eq!(issuer.hits(), (2, 2));
}

#[actix_web::test]
async fn the_metadata_must_be_that_of_the_issuer() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let token = signer.token(issuer.claims());
    let guard = issuer.builder().build().unwrap();
    issuer.script.lock().unwrap().issuer.push('/');
    assert!(matches!(guard.authenticate(&token).await, Err(AuthenticateError::Unavailable { .. })));
    assert_eq!(issuer.hits(), (1, 0));
}

#[actix_web::test]
async fn keys_are_not_fetched_over_plain_http_from_other_hosts() {
    let issuer = FakeIssuer::start();
    let guard = issuer.builder().build().unwrap();
    for jwks_uri in ["http://keys.example/jwks", "file:///etc/passwd", "jwks"] {
        issuer.script.lock().unwrap().jwks_uri = jwks_uri.to_owned();
        assert!(!guard.fetch_keys().await);
        issuer.advance(10);
    }
    assert_eq!(issuer.hits(), (3, 0));
}

#[actix_web::test]
async fn the_metadata_of_an_issuer_with_a_path_is_found() {
    let signer = Arc::new(Signer::es256("k1"));
    for path in ["/.well-known/oauth-authorization-server/tenant/a", "/tenant/a/.well-known/oauth-authorization-server"]
    {
        let issuer = FakeIssuer::start_at("/tenant/a");
        issuer.publish([signer.jwk()]);
        issuer.script.lock().unwrap().metadata_path = path.to_owned();
        let guard = issuer.builder().build().unwrap();
        guard.authenticate(&signer.token(issuer.claims())).await.unwrap();
        assert_eq!(issuer.hits(), (1, 1));
    }
}

#[test]
fn unsafe_issuer_urls_are_refused() {
    let build = |url: &str| Guard::from_issuer(url).audience("a").build();
    for url in [
        "id.example",
        "http://id.example",
        "ftp://id.example",
        "https://id.example?x",
        "https://id.example#x",
        "https://u:p@id.example",
        "http://localhost.example",
        "http://128.0.0.1",
    ] {
        assert!(matches!(build(url), Err(BuildError::Issuer { .. })), "{url}");
    }
    for url in ["https://id.example", "http://localhost:8080", "http://127.0.0.1:1/x", "http://[::1]:8080"] {
        assert!(build(url).is_ok(), "{url}");
    }
    assert!(Guard::from_issuer("http://id.example").audience("a").allow_http().build().is_ok());
    let no_cool_down = Guard::from_issuer("https://id.example").audience("a").cool_down(0).build();
    assert!(matches!(no_cool_down, Err(BuildError::CoolDown)));
}
