//! A token of any text, and one with any header and payload that is really signed.

#![no_main]

use std::sync::LazyLock;

use grantd_guard::{
    Guard,
    testing::{self, AUDIENCE, ISSUER, NOW, Signer},
};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::eddsa("one"));
static GUARD: LazyLock<Guard> = LazyLock::new(|| testing::guard([SIGNER.jwk()]));

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = GUARD.verify(text, NOW);
    let (header, payload) = text.split_once('\n').unwrap_or((r#"{"alg":"EdDSA","kid":"one","typ":"at+jwt"}"#, text));
    let token = SIGNER.sign(header, payload);
    for verdict in [GUARD.verify(&token, NOW), GUARD.verify_for_anybody(&token, NOW)] {
        if let Ok(claims) = verdict {
            assert_eq!(claims.iss, ISSUER);
            assert!(claims.exp > NOW - 60 && claims.iat < NOW + 60);
            assert!(![&claims.sub, &claims.jti, &claims.client_id].iter().any(|text| text.is_empty()));
        }
    }
    if let Ok(claims) = GUARD.verify(&token, NOW) {
        assert!(claims.aud.as_slice().iter().any(|audience| audience == AUDIENCE || audience == ISSUER));
    }
});
