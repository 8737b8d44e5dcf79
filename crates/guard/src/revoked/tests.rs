use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::{self, NOW};

const LONG: Option<Duration> = Some(Duration::from_hours(1));

fn of(kind: RevocationKind, id: &str) -> Revocation {
    Revocation { kind, id: id.to_owned(), revoked_at: NOW, expires_at: NOW + 900 }
}

fn claims(changes: serde_json::Value) -> Claims {
    serde_json::from_value(testing::claims(changes)).unwrap()
}

fn known(revoked: &Revoked) -> usize {
    revoked.known.read().unwrap().len()
}

#[test]
fn each_kind_is_found_by_its_own_claim() {
    for (kind, claim) in [
        (RevocationKind::Session, "sid"),
        (RevocationKind::User, "sub"),
        (RevocationKind::Client, "client_id"),
        (RevocationKind::Token, "jti"),
    ] {
        let revoked = Revoked::new(None);
        revoked.hear([of(kind, "x")], true, NOW);
        assert_eq!(revoked.check(&claims(json!({claim: "x"}))), Err(TokenError::Revoked), "{claim}");
        for other in ["sid", "sub", "client_id", "jti"].into_iter().filter(|other| *other != claim) {
            assert_eq!(revoked.check(&claims(json!({other: "x"}))), Ok(()), "{kind:?} {other}");
        }
        assert_eq!(RevocationKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(RevocationKind::parse("planet"), None);
}

#[test]
fn a_user_and_a_client_can_come_back_and_a_session_and_a_token_cannot() {
    let back = |kind, claim: &str| {
        let revoked = Revoked::new(None);
        revoked.hear([of(kind, "x")], true, NOW);
        let check = |iat| revoked.check(&claims(json!({claim: "x", "iat": iat})));
        assert_eq!(check(NOW), Err(TokenError::Revoked), "in the same second");
        check(NOW + 1).is_ok()
    };
    assert!(back(RevocationKind::User, "sub"));
    assert!(back(RevocationKind::Client, "client_id"));
    assert!(!back(RevocationKind::Session, "sid"));
    assert!(!back(RevocationKind::Token, "jti"));
}

#[test]
fn of_two_revocations_of_the_same_the_later_counts_in_any_order() {
    let early = |kind| Revocation { revoked_at: NOW - 10, expires_at: NOW + 1, ..of(kind, "x") };
    for kind in [RevocationKind::User, RevocationKind::Session] {
        for news in [[early(kind), of(kind, "x")], [of(kind, "x"), early(kind)]] {
            let revoked = Revoked::new(None);
            revoked.hear(news, true, NOW);
            // Something new has what expired forgotten.
            revoked.hear([of(RevocationKind::Token, "other")], false, NOW + 2);
            assert_eq!(revoked.check(&claims(json!({"sub": "x", "sid": "x"}))), Err(TokenError::Revoked));
        }
    }
}

#[test]
fn what_expired_is_forgotten() {
    for kind in [RevocationKind::Session, RevocationKind::User, RevocationKind::Client, RevocationKind::Token] {
        let revoked = Revoked::new(None);
        revoked.hear([of(kind, "x"), of(kind, "y")], true, NOW);
        assert_eq!(known(&revoked), 2);
        let news = Revocation { expires_at: NOW + 2000, ..of(kind, "z") };
        revoked.hear([news], false, NOW + 900);
        assert_eq!(known(&revoked), 1, "{kind:?}");
        revoked.hear([of(kind, "late")], false, NOW + 900);
        assert_eq!(known(&revoked), 1, "{kind:?}");
    }
}

#[test]
fn news_are_added_and_the_whole_takes_the_place_of_all() {
    let revoked = Revoked::new(None);
    let check = |sid| revoked.check(&claims(json!({"sid": sid})));
    revoked.hear([of(RevocationKind::Session, "a")], true, NOW);
    revoked.hear([of(RevocationKind::Session, "b")], false, NOW);
    assert_eq!((check("a"), check("b")), (Err(TokenError::Revoked), Err(TokenError::Revoked)));
    revoked.hear([of(RevocationKind::Session, "b")], true, NOW);
    assert_eq!((check("a"), check("b")), (Ok(()), Err(TokenError::Revoked)));
}

#[test]
fn whoever_must_hear_accepts_nothing_before() {
    let revoked = Revoked::new(LONG);
    let good = claims(json!({}));
    assert_eq!(revoked.check(&good), Err(TokenError::RevocationsUnknown));
    assert_eq!(revoked.health(false), RevocationsHealth::Never { failing: false });
    revoked.hear([], true, NOW);
    assert_eq!(revoked.check(&good), Ok(()));
    assert!(matches!(revoked.health(true), RevocationsHealth::Heard { failing: true, .. }));

    let revoked = Revoked::new(Some(Duration::ZERO));
    revoked.hear([], true, NOW);
    let heard_at = Instant::now();
    while heard_at.elapsed().is_zero() {}
    assert_eq!(revoked.check(&good), Err(TokenError::RevocationsUnknown), "heard too long ago");
}

#[cfg(feature = "issuer")]
#[test]
fn a_part_of_the_news_counts_and_does_not_make_the_rest_known() {
    let revoked = Revoked::new(LONG);
    revoked.learn([of(RevocationKind::Session, "s1")], NOW);
    assert_eq!(revoked.check(&claims(json!({}))), Err(TokenError::RevocationsUnknown));
    revoked.hear([], false, NOW);
    assert_eq!(revoked.check(&claims(json!({}))), Err(TokenError::Revoked));
}

#[test]
fn whoever_need_not_hear_accepts_without() {
    let revoked = Revoked::new(None);
    assert_eq!(revoked.check(&claims(json!({}))), Ok(()));
    assert_eq!(revoked.health(false), RevocationsHealth::NotFollowed);
}
