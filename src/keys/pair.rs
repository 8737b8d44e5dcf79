//! Key pairs of the three signature algorithms: generation, parsing, signatures, and the public key as a JWK.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretBox};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{config::Algorithm, error::Error, secret::fingerprint};

/// A key pair.
pub(super) enum KeyPair {
    Es256(EcdsaKeyPair),
    Rs256(rsa::KeyPair),
    EdDsa(Ed25519KeyPair),
}

/// Appends base64url without padding.
pub(super) fn encode(bytes: &[u8], into: &mut String) {
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, into);
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl KeyPair {
    /// Generates a key pair, and returns it with its PKCS #8 form.
    pub(super) fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), String> {
        let failed = |_| format!("no {} key", algorithm.as_str());
        let made = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec();
                (Self::Es256(pair), pkcs8)
            }
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(failed)?;
                let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?.as_ref().to_vec();
                (Self::Rs256(pair), pkcs8)
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                let pkcs8 = pair.to_pkcs8().map_err(failed)?.as_ref().to_vec();
                (Self::EdDsa(pair), pkcs8)
            }
        };
        Ok((made.0, made.1.into()))
    }

    /// Parses a private key. `None`: it is malformed.
    pub(super) fn from_pkcs8(algorithm: Algorithm, pkcs8: &SecretBox<Vec<u8>>) -> Option<Self> {
        let pkcs8 = pkcs8.expose_secret();
        match algorithm {
            Algorithm::ES256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok().map(Self::Es256),
            Algorithm::RS256 => rsa::KeyPair::from_pkcs8(pkcs8).ok().map(Self::Rs256),
            Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self::EdDsa),
        }
    }

    /// Returns the signature of a message, in the form of RFC 7518 §3.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Internal("a token could not be signed".to_owned());
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// Returns the public key as a JWK, with its thumbprint as `kid`.
    pub(super) fn jwk(&self) -> Value {
        // Only the members that RFC 7638 §3.2 hashes: `thumbprint` hashes the whole object. serde_json sorts them by
        // name, as the RFC requires; `kid`, `alg` and `use` are added after that.
        let (mut jwk, alg) = match self {
            Self::Es256(pair) => {
                // An uncompressed point: 4, x, y (SEC 1 §2.3.3).
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                (json!({"crv": "P-256", "kty": "EC", "x": text(x), "y": text(y)}), "ES256")
            }
            Self::Rs256(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                (json!({"e": text(public.e), "kty": "RSA", "n": text(public.n)}), "RS256")
            }
            Self::EdDsa(pair) => (json!({"crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key())}), "EdDSA"),
        };
        jwk["kid"] = thumbprint(&jwk).into();
        jwk["alg"] = alg.into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// Returns the thumbprint (RFC 7638 §3): the SHA-256 of the required members, in base64url.
fn thumbprint(required: &Value) -> String {
    text(fingerprint(&required.to_string()))
}

#[cfg(test)]
mod tests {
    use grantd_guard::{Claims, Guard};

    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
                 FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb\
                 9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls\
                 1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = json!({"e": "AQAB", "kty": "RSA", "n": n});
        assert_eq!(thumbprint(&jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn each_algorithm_signs_what_the_guard_verifies() {
        for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
            let (made, pkcs8) = KeyPair::generate(algorithm).unwrap();
            let pair = KeyPair::from_pkcs8(algorithm, &SecretBox::new(Box::new(pkcs8.to_vec()))).unwrap();
            assert_eq!(pair.jwk(), made.jwk());
            let set = serde_json::from_value(json!({"keys": [pair.jwk()]})).unwrap();
            let guard = Guard::from_keys("https://id.example", ["a"], &set).unwrap();
            let claims: Claims = serde_json::from_value(json!({
                "iss": "https://id.example", "sub": "s", "aud": "a", "exp": 200, "iat": 100, "jti": "j",
                "client_id": "default", "scope": "account",
            }))
            .unwrap();
            let head = json!({"alg": algorithm.as_str(), "kid": pair.jwk()["kid"], "typ": "at+jwt"});
            let signed = format!("{}.{}", text(head.to_string()), text(serde_json::to_string(&claims).unwrap()));
            let token = format!("{signed}.{}", text(pair.sign(signed.as_bytes()).unwrap()));
            assert_eq!(*guard.verify(&token, 150).unwrap(), claims);
        }
    }
}
