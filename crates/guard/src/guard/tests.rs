//! Tests of each reason to refuse a token, and of the cache of verified tokens.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Audience, BuildError, MAX_LEEWAY,
    testing::{AUDIENCE, ISSUER, NOW, Signer, base64, guard, jwk_set, own::claims},
};

/// Returns the verdict on a token with these changes to its claims.
fn verdict(changes: Value) -> Result<Arc<Claims>, TokenError> {
    let signer = Signer::es256("k1");
    guard([signer.jwk()]).verify(&signer.token(changes), NOW)
}

fn verdict_on_header(changes: Value) -> Result<Arc<Claims>, TokenError> {
    let signer = Signer::es256("k1");
    guard([signer.jwk()]).verify(&signer.token_with_header(changes), NOW)
}

#[test]
fn tokens_of_each_algorithm_are_accepted() {
    let signers = [Signer::es256("k1"), Signer::eddsa("k2"), Signer::rs256("k3")];
    let guard = guard(signers.iter().map(Signer::jwk));
    for signer in &signers {
        let claims = guard.verify(&signer.token(json!({})), NOW).unwrap();
        assert_eq!(claims.username.as_deref(), Some("alice"));
        assert!(claims.scope.contains("items:read"));
    }
}

#[test]
fn a_key_without_alg_has_the_algorithm_of_its_kind() {
    for signer in [Signer::es256("k1"), Signer::eddsa("k1"), Signer::rs256("k1")] {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk.as_object_mut().unwrap().remove("use");
        assert!(guard([jwk]).verify(&signer.token(json!({})), NOW).is_ok());
    }
}

#[test]
fn tokens_that_are_not_compact_jws_are_malformed() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let good = signer.token(json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let four_parts = format!("{header}.{payload}.{payload}.{signature}");
    let padded = format!("{good}=");
    let no_signature = format!("{head}.");
    for token in ["", ".", "..", "a.b.c", head, &four_parts, &padded, "grk_opaque", "\u{0}.\u{0}.\u{0}", "ä.ö.ü"] {
        assert_eq!(guard.verify(token, NOW), Err(TokenError::Malformed), "{token:?}");
    }
    assert_eq!(guard.verify(&no_signature, NOW), Err(TokenError::Signature));
    for header in ["[]", "\"x\"", "{", "{}", "{\"alg\":1}", "[\"ES256\",\"k1\",\"at+jwt\"]"] {
        let token = signer.sign(header, &claims(json!({})).to_string());
        assert_eq!(guard.verify(&token, NOW), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn long_tokens_are_refused_before_parsing() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let long = signer.token(json!({"padding": "x".repeat(MAX_TOKEN_BYTES)}));
    assert_eq!(guard.verify(&long, NOW), Err(TokenError::TooLong));
}

#[test]
fn repeated_members_are_refused() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let payload = claims(json!({})).to_string();
    let header = r#"{"alg":"ES256","kid":"k1","kid":"k1","typ":"at+jwt"}"#;
    assert_eq!(guard.verify(&signer.sign(header, &payload), NOW), Err(TokenError::Malformed));
    let payload = payload.replacen('{', "{\"scope\":\"items:write\",", 1);
    let token = signer.sign(&signer.header().to_string(), &payload);
    assert_eq!(guard.verify(&token, NOW), Err(TokenError::MalformedClaims));
}

#[test]
fn any_critical_extension_is_refused() {
    for crit in [json!(["b64"]), json!([]), json!("exp"), json!({})] {
        assert_eq!(verdict_on_header(json!({"crit": crit})), Err(TokenError::Critical));
    }
    let signer = Signer::es256("k1");
    let header = r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":null}"#;
    let token = signer.sign(header, &claims(json!({})).to_string());
    assert_eq!(guard([signer.jwk()]).verify(&token, NOW), Err(TokenError::Critical));
}

#[test]
fn only_access_tokens_are_accepted() {
    for typ in
        [json!(null), json!("JWT"), json!("jwt"), json!("at"), json!("x/at+jwt"), json!("application/"), json!("")]
    {
        assert_eq!(verdict_on_header(json!({"typ": typ})), Err(TokenError::WrongType), "{typ}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(verdict_on_header(json!({"typ": typ})).is_ok(), "{typ}");
    }
}

#[test]
fn kid_selects_the_key() {
    assert_eq!(verdict_on_header(json!({"kid": null})), Err(TokenError::NoKeyId));
    assert_eq!(verdict_on_header(json!({"kid": "other"})), Err(TokenError::UnknownKey));
    assert_eq!(verdict_on_header(json!({"kid": "../../dev/null"})), Err(TokenError::UnknownKey));
    let (ours, theirs) = (Signer::es256("k1"), Signer::es256("k1"));
    // A key in the header of the token is ignored.
    let token = theirs.token_with_header(json!({"jwk": theirs.jwk(), "jku": "https://evil.example/jwks"}));
    assert_eq!(guard([ours.jwk()]).verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn the_key_determines_the_algorithm() {
    for alg in ["none", "None", "HS256", "RS256", "EdDSA", "ES384", "es256", ""] {
        assert_eq!(verdict_on_header(json!({"alg": alg})), Err(TokenError::WrongAlgorithm), "{alg}");
    }
    let unsigned =
        format!("{}.{}.", base64(r#"{"alg":"none","kid":"k1","typ":"at+jwt"}"#), base64(claims(json!({})).to_string()));
    assert_eq!(guard([Signer::es256("k1").jwk()]).verify(&unsigned, NOW), Err(TokenError::WrongAlgorithm));
}

#[test]
fn a_public_key_is_not_accepted_as_hmac_secret() {
    let rsa = Signer::rs256("k1");
    let signed =
        format!("{}.{}", base64(r#"{"alg":"HS256","kid":"k1","typ":"at+jwt"}"#), base64(claims(json!({})).to_string()));
    let secret = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let tag = aws_lc_rs::hmac::sign(
        &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes()),
        signed.as_bytes(),
    );
    let token = format!("{signed}.{}", base64(tag));
    assert_eq!(guard([rsa.jwk()]).verify(&token, NOW), Err(TokenError::WrongAlgorithm));
    let oct = json!({"kty": "oct", "kid": "k1", "alg": "HS256", "use": "sig", "k": base64(secret)});
    assert_eq!(guard([oct]).verify(&token, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn keys_for_other_uses_are_skipped() {
    let signer = Signer::es256("k1");
    let token = signer.token(json!({}));
    for (member, value) in [
        ("use", json!("enc")),
        ("use", json!("other")),
        ("key_ops", json!(["sign"])),
        ("alg", json!("ES384")),
        ("alg", json!("HS256")),
        ("kid", json!(null)),
        ("kty", json!("XY")),
        ("crv", json!("P-384")),
    ] {
        let mut jwk = signer.jwk();
        jwk[member] = value;
        assert_eq!(guard([jwk]).verify(&token, NOW), Err(TokenError::UnknownKey), "{member}");
    }
}

#[test]
fn broken_and_repeated_keys_are_errors_and_change_nothing() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let mut off_the_curve = signer.jwk();
    off_the_curve["y"] = off_the_curve["x"].clone();
    let short_rsa = json!({"kty": "RSA", "kid": "k1", "n": base64([0xFF; 128]), "e": "AQAB"});
    for jwk in [off_the_curve, short_rsa] {
        assert_eq!(guard.replace_keys(&jwk_set([jwk])), Err(KeyError::Malformed("k1".to_owned())));
    }
    let twice = jwk_set([signer.jwk(), Signer::eddsa("k1").jwk()]);
    assert_eq!(guard.replace_keys(&twice), Err(KeyError::Repeated("k1".to_owned())));
    assert!(guard.verify(&signer.token(json!({})), NOW).is_ok());
}

#[test]
fn a_changed_token_is_refused() {
    let signers = [Signer::es256("k1"), Signer::eddsa("k2"), Signer::rs256("k3")];
    let guard = guard(signers.iter().map(Signer::jwk));
    for signer in &signers {
        let token = signer.token(json!({}));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let more = base64(claims(json!({"scope": "items:read items:write"})).to_string());
        assert_eq!(guard.verify(&format!("{header}.{more}.{signature}"), NOW), Err(TokenError::Signature));
        let other = base64([7; 64]);
        assert_eq!(guard.verify(&format!("{head}.{other}"), NOW), Err(TokenError::Signature));
    }
}

#[test]
fn required_claims_must_be_present_and_well_typed() {
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        assert_eq!(verdict(json!({name: null})), Err(TokenError::MissingClaim(name)));
        for wrong in [json!(true), json!({}), json!(1.5), json!([1]), json!("")] {
            let error = verdict(json!({name: wrong})).unwrap_err();
            let expected = if name == "aud" && wrong == json!("") {
                TokenError::WrongAudience
            } else {
                TokenError::MalformedClaims
            };
            assert_eq!(error, expected, "{name}: {wrong}");
        }
    }
    for payload in ["", "[]", "null", "{", "{}x"] {
        let signer = Signer::es256("k1");
        let token = signer.sign(&signer.header().to_string(), payload);
        let error = guard([signer.jwk()]).verify(&token, NOW).unwrap_err();
        assert_eq!(error, TokenError::MalformedClaims, "{payload}");
    }
}

#[test]
fn ill_typed_optional_claims_are_refused_and_unknown_ones_ignored() {
    for (name, value) in [("nbf", json!("now")), ("scope", json!(["items:read"])), ("roles", json!("admin"))] {
        assert_eq!(verdict(json!({name: value})), Err(TokenError::MalformedClaims), "{name}");
    }
    assert!(verdict(json!({"cnf": {"jkt": "x"}, "scope": null, "username": null})).unwrap().scope.is_empty());
}

#[test]
fn the_issuer_is_compared_exactly() {
    for iss in ["https://id.example/", "https://ID.example", "http://id.example", "https://id.example.evil.example"] {
        assert_eq!(verdict(json!({"iss": iss})), Err(TokenError::WrongIssuer));
    }
}

#[test]
fn one_matching_audience_is_enough() {
    for aud in [json!("https://other.example"), json!(["https://other.example"]), json!([])] {
        assert_eq!(verdict(json!({"aud": aud})), Err(TokenError::WrongAudience));
    }
    let claims = verdict(json!({"aud": ["https://other.example", AUDIENCE]})).unwrap();
    assert!(matches!(&claims.aud, Audience::Many(both) if both.len() == 2));
    let signer = Signer::es256("k1");
    let without_audience = Guard::from_keys(ISSUER, Vec::<String>::new(), &jwk_set([signer.jwk()])).unwrap();
    assert_eq!(without_audience.verify(&signer.token(json!({})), NOW), Err(TokenError::WrongAudience));
}

#[test]
fn exp_has_no_leeway() {
    assert_eq!(verdict(json!({"exp": NOW})), Err(TokenError::Expired));
    assert_eq!(verdict(json!({"exp": i64::MIN})), Err(TokenError::Expired));
    assert!(verdict(json!({"exp": NOW + 1})).is_ok());
}

#[test]
fn tokens_of_the_future_are_refused_beyond_the_leeway() {
    assert!(verdict(json!({"nbf": NOW + 30, "iat": NOW + 30})).is_ok());
    assert_eq!(verdict(json!({"nbf": NOW + 31})), Err(TokenError::NotYetValid));
    assert_eq!(verdict(json!({"iat": NOW + 31})), Err(TokenError::IssuedInFuture));
    assert_eq!(verdict(json!({"iat": i64::MAX})), Err(TokenError::IssuedInFuture));
}

#[test]
fn the_leeway_can_be_reduced_but_not_increased() {
    let signer = Signer::es256("k1");
    let keys = jwk_set([signer.jwk()]);
    let strict = Guard::builder(ISSUER).audience(AUDIENCE).leeway(0).keys(&keys).unwrap();
    assert_eq!(strict.verify(&signer.token(json!({"iat": NOW + 1})), NOW), Err(TokenError::IssuedInFuture));
    let loose = Guard::builder(ISSUER).audience(AUDIENCE).leeway(MAX_LEEWAY + 1).keys(&keys);
    assert!(matches!(loose, Err(BuildError::Leeway(31))));
}

#[test]
fn a_guard_needs_an_audience_and_a_plain_realm() {
    let keys = jwk_set([]);
    assert!(matches!(Guard::builder(ISSUER).keys(&keys), Err(BuildError::NoAudience)));
    for realm in ["a\"b", "a\\b", "a\r\nb", "ä"] {
        let built = Guard::builder(ISSUER).audience(AUDIENCE).realm(realm).keys(&keys);
        assert!(matches!(built, Err(BuildError::Realm)), "{realm:?}");
    }
}

#[test]
fn times_of_cached_tokens_are_checked_again() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let token = signer.token(json!({"nbf": NOW}));
    let first = guard.verify(&token, NOW).unwrap();
    let second = guard.verify(&token, NOW + 899).unwrap();
    assert!(Arc::ptr_eq(&first, &second), "the second one is cached");
    assert_eq!(guard.verify(&token, NOW + 900), Err(TokenError::Expired));
    assert_eq!(guard.remembered(), 0, "expired tokens are removed");
    guard.verify(&token, NOW).unwrap();
    assert_eq!(guard.verify(&token, NOW - 31), Err(TokenError::NotYetValid));
}

#[test]
fn refusals_are_not_cached_and_the_cache_is_bounded() {
    let signer = Signer::eddsa("k1");
    let keys = jwk_set([signer.jwk()]);
    let guard = Guard::builder(ISSUER).audience(AUDIENCE).remember(4096).keys(&keys).unwrap();
    assert!(guard.verify(&signer.token(json!({"exp": NOW})), NOW).is_err());
    assert_eq!(guard.remembered(), 0);
    for number in 0..50 {
        guard.verify(&signer.token(json!({"jti": number.to_string()})), NOW).unwrap();
    }
    assert!((1..=8).contains(&guard.remembered()), "{}", guard.remembered());
    let forgetful = Guard::builder(ISSUER).audience(AUDIENCE).remember(0).keys(&keys).unwrap();
    forgetful.verify(&signer.token(json!({})), NOW).unwrap();
    assert_eq!(forgetful.remembered(), 0);
}

#[test]
fn removing_a_key_removes_only_its_tokens_from_the_cache() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let guard = guard([old.jwk(), new.jwk()]);
    let (of_old, of_new) = (old.token(json!({})), new.token(json!({})));
    guard.verify(&of_old, NOW).unwrap();
    let before = guard.verify(&of_new, NOW).unwrap();
    guard.replace_keys(&jwk_set([new.jwk()])).unwrap();
    assert_eq!(guard.remembered(), 1);
    assert_eq!(guard.verify(&of_old, NOW), Err(TokenError::UnknownKey));
    assert!(Arc::ptr_eq(&before, &guard.verify(&of_new, NOW).unwrap()), "still cached");
    // A key with the same `kid` and another public key is another key.
    guard.replace_keys(&jwk_set([Signer::es256("new").jwk()])).unwrap();
    assert_eq!(guard.verify(&of_new, NOW), Err(TokenError::Signature));
}

#[test]
fn results_of_removed_keys_are_not_used() {
    let signer = Signer::es256("k1");
    let guard = guard([signer.jwk()]);
    let token = signer.token(json!({}));
    let (claims, key) = guard.0.verify_uncached(&token, NOW).unwrap();
    guard.replace_keys(&jwk_set([])).unwrap();
    guard.0.remembered.insert(Remembered::digest(&token), &token, claims, key);
    assert_eq!(guard.verify(&token, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn descriptions_have_the_characters_that_rfc_6750_allows() {
    use TokenError as E;
    let all = [
        E::TooLong,
        E::Malformed,
        E::Critical,
        E::WrongType,
        E::NoKeyId,
        E::UnknownKey,
        E::WrongAlgorithm,
        E::Signature,
        E::MissingClaim("exp"),
        E::MalformedClaims,
        E::WrongIssuer,
        E::WrongAudience,
        E::Expired,
        E::NotYetValid,
        E::IssuedInFuture,
        E::Revoked,
    ];
    for error in all {
        let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        assert!(error.description().bytes().all(allowed), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_accepted_or_panics(text in ".{0,200}", shape in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        let guard = guard([Signer::eddsa("k1").jwk()]);
        prop_assert!(guard.verify(&text, NOW).is_err());
        prop_assert!(guard.verify(&shape, NOW).is_err());
    }

    #[test]
    fn no_header_or_payload_panics(header in ".{0,80}", payload in "[\\[\\]{}\":,a-z0-9 ]{0,80}") {
        let signer = Signer::eddsa("k1");
        let guard = guard([signer.jwk()]);
        prop_assert!(guard.verify(&signer.sign(&header, &payload), NOW).is_err());
        prop_assert!(guard.verify(&signer.sign(&signer.header().to_string(), &payload), NOW).is_err());
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in 0_usize..400, by in 1_u8..64) {
        let signer = Signer::eddsa("k1");
        let guard = guard([signer.jwk()]);
        let mut token = signer.token(json!({})).into_bytes();
        let at = at % token.len();
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        token[at] = digits.iter().position(|digit| *digit == token[at]).map_or(b'A', |old| digits[(old + usize::from(by)) % 64]);
        prop_assert!(guard.verify(std::str::from_utf8(&token).unwrap(), NOW).is_err());
    }
}
