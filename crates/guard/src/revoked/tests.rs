use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{self, NOW};

const LONG: Option<Duration> = Some(Duration::from_hours(1));

fn of(kind: RevocationKind, id: &str) -> Revocation {
    Revocation { kind, id: id.to_owned(), revoked_at: NOW, expires_at: NOW + 900 }
}

fn claims(changes: serde_json::Value) -> Claims {
    serde_json::from_value(testing::own::claims(changes)).unwrap()
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
        revoked.apply([of(kind, "x")], true, NOW);
        assert_eq!(revoked.check(&claims(json!({claim: "x"}))), Err(TokenError::Revoked), "{claim}");
        for other in ["sid", "sub", "client_id", "jti"].into_iter().filter(|other| *other != claim) {
            assert_eq!(revoked.check(&claims(json!({other: "x"}))), Ok(()), "{kind:?} {other}");
        }
        assert_eq!(RevocationKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(RevocationKind::parse("planet"), None);
}

#[test]
fn only_users_and_clients_can_get_new_tokens_after_a_revocation() {
    let back = |kind, claim: &str| {
        let revoked = Revoked::new(None);
        revoked.apply([of(kind, "x")], true, NOW);
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
fn of_two_revocations_the_later_counts_in_any_order() {
    let early = |kind| Revocation { revoked_at: NOW - 10, expires_at: NOW + 1, ..of(kind, "x") };
    for kind in [RevocationKind::User, RevocationKind::Session] {
        for news in [[early(kind), of(kind, "x")], [of(kind, "x"), early(kind)]] {
            let revoked = Revoked::new(None);
            revoked.apply(news, true, NOW);
            // New revocations remove expired ones.
            revoked.apply([of(RevocationKind::Token, "other")], false, NOW + 2);
            assert_eq!(revoked.check(&claims(json!({"sub": "x", "sid": "x"}))), Err(TokenError::Revoked));
        }
    }
}

#[test]
fn expired_revocations_are_removed() {
    for kind in [RevocationKind::Session, RevocationKind::User, RevocationKind::Client, RevocationKind::Token] {
        let revoked = Revoked::new(None);
        revoked.apply([of(kind, "x"), of(kind, "y")], true, NOW);
        assert_eq!(known(&revoked), 2);
        let news = Revocation { expires_at: NOW + 2000, ..of(kind, "z") };
        revoked.apply([news], false, NOW + 900);
        assert_eq!(known(&revoked), 1, "{kind:?}");
        revoked.apply([of(kind, "late")], false, NOW + 900);
        assert_eq!(known(&revoked), 1, "{kind:?}");
    }
}

#[test]
fn one_call_removes_a_bounded_number_of_expired_revocations() {
    let revoked = Revoked::new(None);
    let sessions = (0..5000).map(|id| of(RevocationKind::Session, &id.to_string()));
    revoked.apply(sessions, true, NOW);
    let mut before = known(&revoked);
    revoked.apply([Revocation { expires_at: NOW + 2000, ..of(RevocationKind::User, "u") }], false, NOW + 900);
    assert_eq!(known(&revoked), before + 1 - REMOVED_AT_ONCE);
    // An update without revocations removes expired ones, too.
    while known(&revoked) > 1 {
        before = known(&revoked);
        revoked.apply([], false, NOW + 900);
        assert_eq!(known(&revoked), 1.max(before.saturating_sub(REMOVED_AT_ONCE)));
    }
    // A call with many new revocations removes more, so that expired ones do not pile up.
    revoked.apply((0..5000).map(|id| of(RevocationKind::Token, &id.to_string())), true, NOW);
    let news = (0..3000).map(|id| Revocation { expires_at: NOW + 2000, ..of(RevocationKind::User, &id.to_string()) });
    revoked.apply(news, false, NOW + 900);
    assert_eq!(known(&revoked), 3000);
    // A whole feed keeps no expired revocation.
    revoked.apply((0..5000).map(|id| of(RevocationKind::Token, &id.to_string())), true, NOW + 900);
    assert_eq!(known(&revoked), 0);
}

const KINDS: [RevocationKind; 4] =
    [RevocationKind::Session, RevocationKind::User, RevocationKind::Client, RevocationKind::Token];
const IDS: [&str; 3] = ["a", "b", "c"];

fn revocations() -> impl Strategy<Value = Vec<Revocation>> {
    let one = (0..KINDS.len(), 0..IDS.len(), NOW - 5..NOW + 15, NOW - 5..NOW + 25).prop_map(
        |(kind, id, revoked_at, expires_at)| Revocation {
            kind: KINDS[kind],
            id: IDS[id].to_owned(),
            revoked_at,
            expires_at,
        },
    );
    prop::collection::vec(one, 0..6)
}

fn with(base: &Claims, kind: RevocationKind, id: &str, iat: i64) -> Claims {
    let mut claims = Claims { iat, ..base.clone() };
    match kind {
        RevocationKind::Session => claims.sid = Some(id.to_owned()),
        RevocationKind::User => id.clone_into(&mut claims.sub),
        RevocationKind::Client => id.clone_into(&mut claims.client_id),
        RevocationKind::Token => id.clone_into(&mut claims.jti),
    }
    claims
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The model: a map with the latest times of each item. Every call removes expired items.
    #[test]
    fn the_known_revocations_match_a_model(
        calls in prop::collection::vec((revocations(), prop::bool::weighted(0.1), 0_i64..5), 1..16)
    ) {
        let revoked = Revoked::new(None);
        let mut model: HashMap<(RevocationKind, String), (i64, i64)> = HashMap::new();
        let mut now = NOW;
        let base = claims(json!({}));
        for (news, whole, later) in calls {
            now += later;
            if whole {
                model.clear();
            }
            for Revocation { kind, id, revoked_at, expires_at } in news.clone() {
                let times = model.entry((kind, id)).or_insert((revoked_at, expires_at));
                *times = (times.0.max(revoked_at), times.1.max(expires_at));
            }
            model.retain(|_, (_, expires_at)| *expires_at > now);
            revoked.apply(news, whole, now);

            prop_assert_eq!(known(&revoked), model.len());
            for (kind, id) in KINDS.into_iter().flat_map(|kind| IDS.map(|id| (kind, id))) {
                for iat in NOW - 6..NOW + 16 {
                    let is_for_good = matches!(kind, RevocationKind::Session | RevocationKind::Token);
                    let times = model.get(&(kind, id.to_owned()));
                    let expected = times.is_some_and(|(until, _)| is_for_good || iat <= *until);
                    let claims = with(&base, kind, id, iat);
                    prop_assert_eq!(revoked.check(&claims).is_err(), expected, "{:?} {} {}", kind, id, iat);
                }
            }
        }
    }
}

#[test]
fn updates_add_and_whole_feeds_replace() {
    let revoked = Revoked::new(None);
    let check = |sid| revoked.check(&claims(json!({"sid": sid})));
    revoked.apply([of(RevocationKind::Session, "a")], true, NOW);
    revoked.apply([of(RevocationKind::Session, "b")], false, NOW);
    assert_eq!((check("a"), check("b")), (Err(TokenError::Revoked), Err(TokenError::Revoked)));
    revoked.apply([of(RevocationKind::Session, "b")], true, NOW);
    assert_eq!((check("a"), check("b")), (Ok(()), Err(TokenError::Revoked)));
}

#[test]
fn with_max_staleness_nothing_is_accepted_before_an_update() {
    let revoked = Revoked::new(LONG);
    let good = claims(json!({}));
    assert_eq!(revoked.check(&good), Err(TokenError::RevocationsUnknown));
    assert_eq!(revoked.health(false), RevocationsHealth::Never { failing: false });
    revoked.apply([], true, NOW);
    assert_eq!(revoked.check(&good), Ok(()));
    assert!(matches!(revoked.health(true), RevocationsHealth::Updated { failing: true, .. }));

    let revoked = Revoked::new(Some(Duration::ZERO));
    revoked.apply([], true, NOW);
    let updated_at = Instant::now();
    while updated_at.elapsed().is_zero() {}
    assert_eq!(revoked.check(&good), Err(TokenError::RevocationsUnknown), "the last update is too old");
}

#[cfg(feature = "issuer")]
#[test]
fn partial_updates_count_but_are_not_complete() {
    let revoked = Revoked::new(LONG);
    revoked.learn([of(RevocationKind::Session, "s1")], NOW);
    assert_eq!(revoked.check(&claims(json!({}))), Err(TokenError::RevocationsUnknown));
    revoked.apply([], false, NOW);
    assert_eq!(revoked.check(&claims(json!({}))), Err(TokenError::Revoked));
}

#[test]
fn without_max_staleness_no_update_is_needed() {
    let revoked = Revoked::new(None);
    assert_eq!(revoked.check(&claims(json!({}))), Ok(()));
    assert_eq!(revoked.health(false), RevocationsHealth::NotFollowed);
}
