//! Test helpers: keys, tokens, and guards that accept them, without an issuer.
//!
//! The service takes its guard as an argument. Its tests pass one that accepts the tokens of a [`Signer`]:
//!
//! ```
//! use grantd_guard::{
//!     Guard, TokenError,
//!     testing::{self, NOW, Signer, Token},
//! };
//!
//! // The code under test; a handler with an extractor in a real service.
//! fn may_read(guard: &Guard, token: &str) -> Result<bool, TokenError> {
//!     Ok(guard.verify(token, NOW)?.scope.contains("items:read"))
//! }
//!
//! let signer = Signer::es256("k1");
//! let guard = testing::guard([signer.jwk()]);
//! let reader = Token::of_user("alice").scope("items:read");
//! assert_eq!(may_read(&guard, &reader.sign(&signer)), Ok(true));
//! assert_eq!(may_read(&guard, &Token::of_client("robot").sign(&signer)), Ok(false));
//! assert_eq!(may_read(&guard, &reader.clone().expired().sign(&signer)), Err(TokenError::Expired));
//! assert_eq!(may_read(&guard, &reader.sign(&Signer::es256("k1"))), Err(TokenError::Signature));
//! ```
//!
//! The functions panic if the system has no random numbers, and where their documentation says so.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a helper that fails must fail the test")]

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
use serde_json::{Map, Value, json};

use crate::Guard;

/// The time of the tests, in seconds since 1970: tokens are issued then, and the clock of [`guard`] stands still there.
pub const NOW: i64 = 1_800_000_000;
/// The issuer of the tokens.
pub const ISSUER: &str = "https://id.example";
/// The audience of the tokens.
pub const AUDIENCE: &str = "https://items.example";

/// A signing key with an id.
pub struct Signer {
    kid: &'static str,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

const NO_KEY: &str = "a key pair can be generated";
const NO_SIGNATURE: &str = "a message can be signed";

impl Signer {
    /// Generates a key for `ES256`, grantd's default.
    #[must_use]
    pub fn es256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(NO_KEY);
        Self { kid, pair: Pair::Es256(pair) }
    }

    /// Generates a key for `EdDSA` (Ed25519).
    #[must_use]
    pub fn eddsa(kid: &'static str) -> Self {
        Self { kid, pair: Pair::EdDsa(Ed25519KeyPair::generate().expect(NO_KEY)) }
    }

    /// Generates a key for `RS256`. This takes longer than the others.
    #[must_use]
    pub fn rs256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Rs256(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect(NO_KEY)) }
    }

    /// Returns the id of the key.
    #[must_use]
    pub fn kid(&self) -> &'static str {
        self.kid
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::EdDsa(_) => "EdDSA",
            Pair::Rs256(_) => "RS256",
        }
    }

    /// Returns the public key as a JWK (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> Value {
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
        for (name, value) in [("kid", self.kid), ("alg", self.alg()), ("use", "sig")] {
            jwk[name] = value.into();
        }
        jwk
    }

    /// Returns a token with exactly this header and payload, JSON or not.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(payload));
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                pair.sign(&SystemRandom::new(), signed.as_bytes()).expect(NO_SIGNATURE).as_ref().to_vec()
            }
            Pair::EdDsa(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
                    .expect(NO_SIGNATURE);
                signature
            }
        };
        format!("{signed}.{}", base64(signature))
    }
}

/// A builder for access tokens. They are issued at [`NOW`] by [`ISSUER`] for [`AUDIENCE`], and valid for 15 minutes.
#[must_use]
#[derive(Clone, Debug)]
pub struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    /// Starts a token of a user with the role `member` who has logged in with the client `default`, without scopes.
    pub fn of_user(username: &str) -> Self {
        Self::of_client("default")
            .claim("sub", "0199b3a0-0000-7000-8000-000000000001")
            .claim("username", username)
            .claim("sid", "s1")
            .claim("roles", json!(["member"]))
            .claim("auth_time", NOW)
    }

    /// Starts a token of a client that acts for itself, without scopes.
    pub fn of_client(client_id: &str) -> Self {
        Self { header: Map::new(), claims: Map::new() }
            .claim("iss", ISSUER)
            .claim("aud", AUDIENCE)
            .claim("sub", client_id)
            .claim("client_id", client_id)
            .claim("jti", "j1")
            .claim("scope", "")
            .claim("iat", NOW)
            .claim("exp", NOW + 900)
    }

    /// Sets the scopes, space-delimited.
    pub fn scope(self, scopes: &str) -> Self {
        self.claim("scope", scopes)
    }

    /// Lets the token expire at [`NOW`].
    pub fn expired(self) -> Self {
        self.claim("exp", NOW)
    }

    /// Sets a claim to any JSON value; `null` removes it.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets a parameter of the header to any JSON value; `null` removes it. By default, `typ` is `at+jwt`, and `alg` and
    /// `kid` are those of the key.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the token, signed with a key.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        let mut header = Map::new();
        for (name, value) in [("alg", signer.alg()), ("kid", signer.kid), ("typ", "at+jwt")] {
            set(&mut header, name, value.into());
        }
        for (name, value) in &self.header {
            set(&mut header, name, value.clone());
        }
        signer.sign(&Value::Object(header).to_string(), &Value::Object(self.claims.clone()).to_string())
    }
}

/// Sets a member, or removes it: `null`.
fn set(members: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

/// Returns a JWK set, for [`GuardBuilder::keys`](crate::GuardBuilder::keys).
///
/// # Panics
/// If a value is not a JWK.
pub fn jwk_set(keys: impl IntoIterator<Item = Value>) -> JwkSet {
    serde_json::from_value(json!({"keys": keys.into_iter().collect::<Vec<_>>()})).expect("the keys are JWKs")
}

/// Returns a guard that accepts the tokens of these keys, issued by [`ISSUER`] for [`AUDIENCE`], at the time [`NOW`].
///
/// # Panics
/// If a value is not a JWK, or two keys have the same id.
pub fn guard(keys: impl IntoIterator<Item = Value>) -> Guard {
    Guard::builder(ISSUER).audience(AUDIENCE).clock(|| NOW).keys(&jwk_set(keys)).expect("the keys are usable")
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
pub(crate) mod own;
