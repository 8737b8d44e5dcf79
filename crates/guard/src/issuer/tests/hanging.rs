//! An issuer that does not respond: which requests wait for its keys.

use super::*;

/// The default of the fake issuer.
const MAX_AGE: i64 = 300;

/// Returns an issuer that no longer responds, a guard that has the key of `signer`, and a token that it accepted.
async fn hung(signer: &Signer, age: i64) -> (FakeIssuer, Guard, String) {
    let issuer = FakeIssuer::start();
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().build().unwrap();
    let token = signer.token(issuer.claims());
    guard.authenticate(&token).await.unwrap();
    assert_eq!(issuer.hits(), (1, 1));
    issuer.hold();
    issuer.advance(age);
    (issuer, guard, token)
}

/// Returns the verdict, which must not wait.
async fn at_once(guard: &Guard, token: &str) -> Result<(), AuthenticateError> {
    let verdict = tokio::time::timeout(Duration::ZERO, guard.authenticate(token)).await;
    verdict.expect("no waiting").map(drop)
}

fn is_fetching(guard: &Guard) -> bool {
    guard.source().unwrap().state().flight.is_some()
}

#[actix_web::test]
async fn valid_tokens_are_accepted_while_the_fetch_hangs() {
    let signer = Signer::eddsa("k1");
    for age in [MAX_AGE, MAX_AGE + STALE_WHILE_REVALIDATE - 1] {
        let (issuer, guard, token) = hung(&signer, age).await;
        assert_eq!(at_once(&guard, &token).await, Ok(()), "cached");
        for number in 0..3 {
            let mut claims = issuer.claims();
            claims["jti"] = json!(number.to_string());
            let new = signer.token(claims);
            #[cfg(feature = "actix")]
            assert!(guard.authenticate_at_once(&new).unwrap().is_ok());
            assert_eq!(at_once(&guard, &new).await, Ok(()), "not cached");
        }
        until(|| issuer.hits().0 == 2).await;
        assert_eq!(at_once(&guard, &token).await, Ok(()));
        assert!(is_fetching(&guard));

        // One fetch for all of them, and its keys count once they come.
        let next = Signer::eddsa("k2");
        issuer.publish([next.jwk()]);
        issuer.release();
        until(|| !is_fetching(&guard)).await;
        assert_eq!(issuer.hits(), (2, 2));
        assert_eq!(at_once(&guard, &token).await, Err(UNKNOWN));
        assert_eq!(at_once(&guard, &next.token(issuer.claims())).await, Ok(()));
    }
}

#[actix_web::test]
async fn an_unknown_key_waits_for_the_hanging_fetch() {
    let signer = Signer::eddsa("k1");
    let (mut issuer, guard, token) = hung(&signer, MAX_AGE).await;
    // Tokens with an unknown key wait for the fetch that a valid token started.
    assert_eq!(at_once(&guard, &token).await, Ok(()));
    let mut waiting = JoinSet::new();
    for kid in ["k2", "k3"] {
        let (guard, unknown) = (guard.clone(), Signer::eddsa(kid).token(issuer.claims()));
        waiting.spawn(async move { guard.authenticate(&unknown).await });
    }
    until(|| issuer.hits().0 == 2).await;
    assert_eq!(at_once(&guard, &token).await, Ok(()));
    assert!(waiting.try_join_next().is_none());

    // The connections are cut: the fetch fails, and the old keys stay.
    issuer.stop().await;
    assert!(waiting.join_all().await.into_iter().all(|verdict| verdict == Err(UNKNOWN)));
    assert_eq!(issuer.hits(), (2, 1));
    let unknown = Signer::eddsa("k4").token(issuer.claims());
    assert_eq!(at_once(&guard, &unknown).await, Err(UNKNOWN), "within the cool-down");
    assert_eq!(at_once(&guard, &token).await, Ok(()));
}

#[actix_web::test]
async fn very_stale_keys_are_fetched_before_a_token_is_accepted() {
    let (bad, good) = (Signer::eddsa("bad"), Signer::eddsa("good"));
    for failed_before in [false, true] {
        let issuer = FakeIssuer::start();
        issuer.publish([bad.jwk(), good.jwk()]);
        let guard = issuer.builder().build().unwrap();
        let token = bad.token(issuer.claims());
        guard.authenticate(&token).await.unwrap();
        if failed_before {
            issuer.script.lock().unwrap().status = 500;
            issuer.advance(MAX_AGE);
            guard.authenticate(&token).await.unwrap();
            until(|| guard.source().unwrap().state().failed_at.is_some()).await;
            issuer.script.lock().unwrap().status = 200;
        }
        // The key is withdrawn while no token comes.
        issuer.publish([good.jwk()]);
        issuer.advance(MAX_AGE + STALE_WHILE_REVALIDATE);
        assert_eq!(guard.authenticate(&token).await, Err(UNKNOWN), "{failed_before}");
    }
}

#[actix_web::test]
async fn a_valid_token_waits_for_very_stale_keys_only_briefly() {
    let signer = Signer::eddsa("k1");
    let (issuer, guard, token) = hung(&signer, MAX_AGE + STALE_WHILE_REVALIDATE).await;
    guard.authenticate(&token).await.unwrap();
    assert!(is_fetching(&guard));
    assert_eq!(issuer.hits(), (2, 1));
}
