//! Tests against a real HTTP issuer. They do not sleep, but wait for the effects of the follower.

use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::{
    AuthenticateError, GuardBuilder, RevocationKind, RevocationsHealth, TokenError,
    issuer::{
        Source,
        fake::{FakeIssuer, revoked},
    },
    testing::{NOW, Signer},
};

const UNAVAILABLE: AuthenticateError = AuthenticateError::Unavailable { retry_after: 1 };
const REVOKED: AuthenticateError = AuthenticateError::Token(TokenError::Revoked);

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began_at = Instant::now();
    while !condition() {
        assert!(began_at.elapsed() < Duration::from_mins(1), "{what} does not happen");
        tokio::task::yield_now().await;
    }
}

/// Returns an issuer with a key, and a builder for a guard that follows it.
fn start() -> (FakeIssuer, Signer, GuardBuilder) {
    let issuer = FakeIssuer::start();
    let signer = Signer::eddsa("k1");
    issuer.publish([signer.jwk()]);
    let builder = issuer.builder().follow_revocations("items", "secret");
    (issuer, signer, builder)
}

fn token(issuer: &FakeIssuer, signer: &Signer, changes: &Value) -> String {
    let mut claims = issuer.claims();
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    signer.token(claims)
}

fn is_failing(guard: &Guard) -> bool {
    matches!(
        guard.health().revocations,
        RevocationsHealth::Never { failing: true } | RevocationsHealth::Updated { failing: true, .. }
    )
}

/// Returns whether the follower has read the whole feed and waits for new revocations.
fn is_quiet(issuer: &FakeIssuer) -> bool {
    issuer.feed.open() == 1 && issuer.feed.asked().last().unwrap().query["wait"] == "20"
}

#[actix_web::test]
async fn cached_tokens_are_refused_once_their_session_is_revoked() {
    let (issuer, signer, builder) = start();
    let guard = builder.build().unwrap();
    let (ours, other) =
        (token(&issuer, &signer, &json!({"sid": "s1"})), token(&issuer, &signer, &json!({"sid": "s2"})));
    guard.authenticate(&ours).await.unwrap();
    guard.authenticate(&other).await.unwrap();
    assert_eq!(guard.remembered(), 2);

    issuer.feed.add([revoked("planet", "s2"), revoked("session", "s1")]);
    eventually("the revocation", || guard.verify(&ours, NOW) == Err(TokenError::Revoked)).await;
    assert_eq!(guard.authenticate(&ours).await, Err(REVOKED));
    guard.authenticate(&other).await.unwrap();
}

#[actix_web::test]
async fn users_and_clients_are_revoked_by_the_time_of_issue() {
    let (issuer, signer, builder) = start();
    issuer.feed.add([revoked("user", "u1"), revoked("client", "c1"), revoked("token", "t1")]);
    let guard = builder.build().unwrap();
    let verdict = async |changes: Value| guard.authenticate(&token(&issuer, &signer, &changes)).await.map(drop);
    for (claim, id) in [("sub", "u1"), ("client_id", "c1")] {
        assert_eq!(verdict(json!({claim: id, "iat": NOW})).await, Err(REVOKED), "{claim}");
        assert_eq!(verdict(json!({claim: id, "iat": NOW + 1})).await, Ok(()), "{claim}");
    }
    assert_eq!(verdict(json!({"jti": "t1", "iat": NOW + 1})).await, Err(REVOKED));
}

#[actix_web::test]
async fn all_pages_are_read_before_a_token_is_accepted() {
    let (issuer, signer, builder) = start();
    issuer.feed.add((0..450).map(|number| revoked("session", &number.to_string())));
    let guard = builder.build().unwrap();
    for sid in ["0", "199", "200", "399", "400", "449"] {
        assert_eq!(guard.authenticate(&token(&issuer, &signer, &json!({"sid": sid}))).await, Err(REVOKED), "{sid}");
    }
    eventually("quiet", || is_quiet(&issuer)).await;
    let asked: Vec<_> = issuer.feed.asked().into_iter().map(|asked| asked.query).collect();
    let asked: Vec<_> = asked.iter().map(|query| (query.get("after").map(String::as_str), &*query["wait"])).collect();
    assert_eq!(asked, [(None, "0"), (Some("0/200"), "0"), (Some("0/400"), "0"), (Some("0/450"), "20")]);

    // Many at once, later.
    issuer.feed.add((450..900).map(|number| revoked("session", &number.to_string())));
    for sid in ["450", "899"] {
        let token = token(&issuer, &signer, &json!({"sid": sid}));
        eventually("the revocation", || guard.verify(&token, NOW) == Err(TokenError::Revoked)).await;
    }
}

#[actix_web::test]
async fn a_refused_cursor_reads_the_whole_feed_again() {
    let (issuer, signer, builder) = start();
    issuer.feed.add([revoked("session", "gone"), revoked("session", "kept")]);
    let guard = builder.build().unwrap();
    let [gone, kept, new] = ["gone", "kept", "new"].map(|sid| token(&issuer, &signer, &json!({"sid": sid})));
    assert_eq!(guard.authenticate(&gone).await, Err(REVOKED));
    guard.authenticate(&new).await.unwrap();

    issuer.feed.replace([revoked("session", "kept"), revoked("session", "new")]);
    eventually("the new feed", || {
        // The known revocations stay in force while the feed is read again.
        assert_eq!(guard.verify(&kept, NOW), Err(TokenError::Revoked));
        guard.verify(&gone, NOW).is_ok()
    })
    .await;
    assert_eq!(guard.authenticate(&new).await, Err(REVOKED));
    assert!(!is_failing(&guard));
}

#[actix_web::test]
async fn no_token_is_accepted_before_the_feed_was_read() {
    let (issuer, signer, builder) = start();
    issuer.feed.hold(true);
    let guard = builder.build().unwrap();
    assert_eq!(guard.health().revocations, RevocationsHealth::Never { failing: false });
    let token = token(&issuer, &signer, &json!({}));
    let waiting = tokio::spawn({
        let (guard, token) = (guard.clone(), token.clone());
        async move { guard.authenticate(&token).await }
    });
    eventually("keys, and a question", || guard.health().keys && issuer.feed.open() == 1).await;
    assert_eq!(guard.verify(&token, NOW), Err(TokenError::RevocationsUnknown));
    #[cfg(feature = "actix")]
    assert_eq!(guard.authenticate_at_once(&token), None);
    assert!(!waiting.is_finished());
    issuer.feed.hold(false);
    waiting.await.unwrap().unwrap();
    assert!(matches!(guard.health().revocations, RevocationsHealth::Updated { failing: false, .. }));
}

#[actix_web::test]
async fn requests_do_not_wait_for_a_failed_feed() {
    let (issuer, signer, builder) = start();
    issuer.feed.set_status(401);
    let guard = builder.build().unwrap();
    eventually("the failure", || is_failing(&guard)).await;
    assert_eq!(guard.health().revocations, RevocationsHealth::Never { failing: true });
    assert!(guard.fetch_keys().await);
    let token = token(&issuer, &signer, &json!({}));
    // The verdict is ready at once, without waiting.
    let verdict = tokio::time::timeout(Duration::ZERO, guard.authenticate(&token)).await;
    assert_eq!(verdict.unwrap(), Err(UNAVAILABLE));
    issuer.feed.set_status(200);
    eventually("an end of it", || guard.verify(&token, NOW).is_ok()).await;
    eventually("health", || !is_failing(&guard)).await;
}

#[actix_web::test]
async fn an_issuer_without_a_feed_cannot_be_followed() {
    let (issuer, _, builder) = start();
    let feed = issuer.feed.endpoint();
    for endpoint in [None, Some("http://feed.example/".to_owned()), Some("revocations".to_owned())] {
        issuer.feed.set_endpoint(endpoint);
        let guard = builder.clone().build().unwrap();
        eventually("the failure", || is_failing(&guard)).await;
    }
    assert!(issuer.feed.asked().is_empty());
    // The issuer may get a feed later.
    let guard = builder.build().unwrap();
    eventually("the failure", || is_failing(&guard)).await;
    issuer.feed.set_endpoint(feed);
    eventually("news", || matches!(guard.health().revocations, RevocationsHealth::Updated { .. })).await;
}

#[actix_web::test]
async fn known_revocations_stay_while_the_feed_is_unreachable() {
    let (issuer, signer, builder) = start();
    issuer.feed.add([revoked("session", "s1")]);
    let guard = builder.build().unwrap();
    let [ours, other, later] = ["s1", "s2", "s3"].map(|sid| token(&issuer, &signer, &json!({"sid": sid})));
    guard.authenticate(&other).await.unwrap();

    issuer.feed.set_status(503);
    eventually("the failure", || is_failing(&guard)).await;
    assert!(matches!(guard.health().revocations, RevocationsHealth::Updated { failing: true, .. }));
    guard.authenticate(&other).await.unwrap();
    assert_eq!(guard.authenticate(&ours).await, Err(REVOKED));

    issuer.feed.add([revoked("session", "s3")]);
    issuer.feed.set_status(200);
    eventually("an end of it", || !is_failing(&guard)).await;
    assert_eq!(guard.authenticate(&later).await, Err(REVOKED));
    assert_eq!(guard.authenticate(&ours).await, Err(REVOKED));
}

#[actix_web::test]
async fn tokens_are_refused_after_too_long_without_the_feed() {
    let (issuer, signer, builder) = start();
    let guard = builder.max_staleness(Duration::from_millis(50)).build().unwrap();
    let token = token(&issuer, &signer, &json!({}));
    eventually("news", || matches!(guard.health().revocations, RevocationsHealth::Updated { .. })).await;
    issuer.feed.set_status(503);
    eventually("the failure", || is_failing(&guard)).await;
    assert!(guard.fetch_keys().await);
    eventually("silence", || guard.verify(&token, NOW) == Err(TokenError::RevocationsUnknown)).await;
    assert_eq!(guard.authenticate(&token).await, Err(UNAVAILABLE));
}

#[actix_web::test]
async fn credentials_are_sent_but_not_shown() {
    let (issuer, ..) = start();
    let builder = issuer.builder().follow_revocations("svc:items", "p ä/+%");
    assert!(!format!("{builder:?}").contains("p ä"));
    let guard = builder.build().unwrap();
    assert!(!format!("{guard:?}").contains("p ä"));
    eventually("a question", || !issuer.feed.asked().is_empty()).await;
    let expected = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "svc%3Aitems:p+%C3%A4%2F%2B%25");
    assert_eq!(issuer.feed.asked()[0].authorization, format!("Basic {expected}"));
    assert_eq!(issuer.feed.asked()[0].query["limit"], "200");
}

#[actix_web::test]
async fn the_follower_ends_with_the_guard() {
    let (issuer, ..) = start();
    let client = || Client::new(&issuer.url(), false, 0).unwrap();
    let feed = Feed::default();
    let state = feed.subscribe();
    let guard = Guard::with_source(issuer.builder(), Source::new(client(), 10, Some(feed), None));
    let credentials = Credentials::new("items".to_owned(), "secret".to_owned());
    let thread = super::start(&guard, state, client(), credentials, Duration::from_mins(15)).unwrap();
    eventually("quiet", || is_quiet(&issuer)).await;
    let clone = guard.clone();
    drop(guard);
    let asked = issuer.feed.asked().len();
    issuer.feed.add([revoked("session", "s1")]);
    eventually("the next question", || issuer.feed.asked().len() > asked && is_quiet(&issuer)).await;
    assert!(!thread.is_finished());
    drop(clone);
    eventually("its end", || thread.is_finished()).await;
    assert_eq!(issuer.feed.open(), 1, "the issuer still waits");
}

#[actix_web::test]
async fn changed_keys_are_fetched_immediately() {
    let (issuer, old, builder) = start();
    issuer.feed.set_keys(Some("1"));
    let guard = builder.build().unwrap();
    let of_old = token(&issuer, &old, &json!({}));
    guard.authenticate(&of_old).await.unwrap();
    eventually("quiet", || is_quiet(&issuer)).await;
    let before = issuer.hits().1;

    // The clock stands still: neither max-age nor the cool-down is over.
    let new = Signer::eddsa("k2");
    issuer.publish([new.jwk()]);
    issuer.feed.set_keys(Some("2"));
    eventually("the end of the key", || guard.verify(&of_old, NOW) == Err(TokenError::UnknownKey)).await;
    guard.authenticate(&token(&issuer, &new, &json!({}))).await.unwrap();
    assert_eq!(issuer.hits().1, before + 1);
    assert_eq!(issuer.script.lock().unwrap().keys_asked_with.as_deref(), Some("no-cache"));

    // No fetch for the same version of the keys, or without a version.
    issuer.feed.add([revoked("session", "s1")]);
    eventually("the revocation", || guard.verify(&token(&issuer, &new, &json!({})), NOW).is_err()).await;
    issuer.feed.set_keys(None);
    issuer.feed.add([revoked("session", "s2")]);
    let other = token(&issuer, &new, &json!({"sid": "s2"}));
    eventually("the revocation", || guard.verify(&other, NOW).is_err()).await;
    eventually("quiet", || is_quiet(&issuer)).await;
    assert_eq!(issuer.hits().1, before + 1);
}

#[actix_web::test]
async fn failed_fetches_of_changed_keys_are_retried() {
    let (issuer, signer, builder) = start();
    let guard = builder.build().unwrap();
    let token = token(&issuer, &signer, &json!({}));
    guard.authenticate(&token).await.unwrap();
    eventually("quiet", || is_quiet(&issuer)).await;
    let keys = issuer.script.lock().unwrap().jwks.clone();
    issuer.script.lock().unwrap().jwks = "{}".to_owned();
    issuer.feed.set_keys(Some("2"));
    eventually("the failure", || is_failing(&guard)).await;
    guard.authenticate(&token).await.unwrap();
    issuer.script.lock().unwrap().jwks = keys;
    eventually("an end of it", || !is_failing(&guard)).await;
    guard.authenticate(&token).await.unwrap();
}

#[actix_web::test]
async fn revocations_are_not_followed_by_default() {
    let (issuer, signer, _) = start();
    issuer.feed.add([revoked("session", "s1")]);
    let guard = issuer.builder().build().unwrap();
    guard.authenticate(&token(&issuer, &signer, &json!({"sid": "s1"}))).await.unwrap();
    assert_eq!(guard.health().revocations, RevocationsHealth::NotFollowed);
    assert!(issuer.feed.asked().is_empty());
    // Revocations can still be added.
    let news =
        Revocation { kind: RevocationKind::Session, id: "s1".to_owned(), revoked_at: NOW, expires_at: NOW + 900 };
    guard.apply_revocations([news], false);
    assert_eq!(guard.authenticate(&token(&issuer, &signer, &json!({"sid": "s1"}))).await, Err(REVOKED));
}

#[actix_web::test]
async fn a_guard_is_built_outside_of_any_runtime() {
    let (issuer, signer, builder) = start();
    let guard = std::thread::spawn(move || builder.build().unwrap()).join().unwrap();
    guard.authenticate(&token(&issuer, &signer, &json!({}))).await.unwrap();
}

#[test]
fn following_requires_an_issuer() {
    let keys = crate::testing::jwk_set([Signer::eddsa("k1").jwk()]);
    let built = Guard::builder("https://id.example").audience("a").follow_revocations("c", "s").keys(&keys);
    assert!(matches!(built, Err(BuildError::CannotFollow)));
}

#[test]
fn long_polls_are_shorter_than_the_maximum_staleness() {
    for (max_staleness, expected) in [(900, 20), (60, 20), (30, 10), (3, 1), (0, 1), (u64::MAX, 20)] {
        assert_eq!(wait(Duration::from_secs(max_staleness)), expected);
    }
}
