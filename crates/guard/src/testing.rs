//! Test helpers: keys that sign any header and payload, and valid tokens to vary.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use crate::Guard;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "https://items.example";

pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

impl Signer {
    pub(crate) fn es256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub(crate) fn eddsa(kid: &'static str) -> Self {
        Self { kid, pair: Pair::EdDsa(Ed25519KeyPair::generate().unwrap()) }
    }

    pub(crate) fn rs256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Rs256(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()) }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::EdDsa(_) => "EdDSA",
            Pair::Rs256(_) => "RS256",
        }
    }

    /// Returns the public key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Pair::EdDsa(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())}),
            Pair::Rs256(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": base64(public.n), "e": base64(public.e)})
            }
        };
        merge(&mut jwk, json!({"kid": self.kid, "alg": self.alg(), "use": "sig"}));
        jwk
    }

    /// Returns a token with exactly this header and payload, JSON or not.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(payload));
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", base64(signature))
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": self.kid, "typ": "at+jwt"})
    }

    /// Returns a valid token with some claims changed; `null` removes a claim.
    pub(crate) fn token(&self, changes: Value) -> String {
        self.sign(&self.header().to_string(), &claims(changes).to_string())
    }

    /// Returns a valid token with some header parameters changed; `null` removes a parameter.
    pub(crate) fn token_with_header(&self, changes: Value) -> String {
        let mut header = self.header();
        merge(&mut header, changes);
        self.sign(&header.to_string(), &claims(json!({})).to_string())
    }
}

/// Returns the claims of a valid token, with changes.
pub(crate) fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "sub": "0199b3a0-0000-7000-8000-000000000001", "aud": AUDIENCE, "exp": NOW + 900, "iat": NOW,
        "jti": "j1", "client_id": "default", "scope": "items:read", "sid": "s1", "username": "alice",
        "roles": ["member"], "auth_time": NOW,
    });
    merge(&mut claims, changes);
    claims
}

/// Applies a JSON Merge Patch (RFC 7396), one level deep.
fn merge(into: &mut Value, changes: Value) {
    let (Value::Object(into), Value::Object(changes)) = (into, changes) else { panic!("objects only") };
    for (name, value) in changes {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn set(keys: impl IntoIterator<Item = Value>) -> JwkSet {
    serde_json::from_value(json!({"keys": keys.into_iter().collect::<Vec<_>>()})).unwrap()
}

pub(crate) fn guard(keys: impl IntoIterator<Item = Value>) -> Guard {
    Guard::builder(ISSUER).audience(AUDIENCE).clock(|| NOW).keys(&set(keys)).unwrap()
}
