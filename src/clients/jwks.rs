//! The public keys of a client, for authentication with `private_key_jwt` (RFC 7523).

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Code, FieldError};

/// The supported signature algorithms, as listed in the metadata.
pub(crate) const ALGORITHMS: [&str; 3] = ["ES256", "RS256", "EdDSA"];
/// The members of private and of symmetric keys (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A JWK set of public keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwks {
    shown: Value,
    keys: Vec<(Jwk, Algorithm)>,
}

impl Jwks {
    /// Reads a JWK set (RFC 7517 §5).
    pub fn parse(json: &str) -> Result<Self, FieldError> {
        let wrong = |message: &str| FieldError::new("jwks", Code::Format, message);
        let shown: Value = serde_json::from_str(json).map_err(|_| wrong("is not valid JSON"))?;
        let keys =
            shown.get("keys").and_then(Value::as_array).ok_or_else(|| wrong("is not a JWK set (RFC 7517 §5)"))?;
        // A private key must not get into the database, nor into responses that show the JWK set.
        if keys.iter().any(|key| PRIVATE.iter().any(|member| key.get(member).is_some())) {
            return Err(wrong("contains a private or symmetric key; send public keys only"));
        }
        let set: JwkSet = serde_json::from_value(shown.clone()).map_err(|_| wrong("is not a JWK set (RFC 7517 §5)"))?;
        let usable = |jwk: Jwk| {
            let algorithm = algorithm(&jwk)?;
            DecodingKey::from_jwk(&jwk).ok().map(|_| (jwk, algorithm))
        };
        let keys: Option<Vec<_>> = set.keys.into_iter().map(usable).collect();
        match keys {
            Some(keys) if !keys.is_empty() && keys.len() <= 16 => Ok(Self { shown, keys }),
            _ => Err(wrong("must have 1 to 16 signature keys of P-256, RSA or Ed25519")),
        }
    }

    /// Returns the JWK set as it was given.
    pub(crate) fn shown(&self) -> &Value {
        &self.shown
    }

    /// Verifies the signature of a JWT and returns its claims, which are not checked. `None`: none of the keys has signed
    /// it.
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // RFC 7515 §4.1.11: a JWT with extensions that are not understood must be rejected.
        if header.crit.is_some() {
            return None;
        }
        let mut validation = Validation::new(header.alg);
        // The caller checks the times, by its own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        // Only keys of the header's algorithm: an EC key must not verify as RSA, nor a public key as an HMAC secret.
        let may_have_signed = |(jwk, algorithm): &&(Jwk, Algorithm)| {
            let is_named = header.kid.is_none() || jwk.common.key_id.is_none() || jwk.common.key_id == header.kid;
            *algorithm == header.alg && is_named
        };
        self.keys.iter().filter(may_have_signed).find_map(|(jwk, _)| {
            let key = DecodingKey::from_jwk(jwk).ok()?;
            jsonwebtoken::decode::<T>(token, &key, &validation).ok().map(|token| token.claims)
        })
    }
}

/// Returns the signature algorithm of a key. `None`: the key is not for signatures, or its `alg` does not match its type.
// The algorithm comes from the key, never from the token alone: an attacker could choose it (algorithm confusion).
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (of_kind, name) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    (is_for_signatures && jwk.common.key_algorithm.is_none_or(|said| said == name)).then_some(of_kind)
}

impl std::fmt::Display for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shown.fmt(f)
    }
}

impl Serialize for Jwks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown.serialize(serializer)
    }
}
