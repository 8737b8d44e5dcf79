//! The issuer's public keys (RFC 7517), parsed when they are set.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse};

use crate::KeyError;

/// A key that verifies signatures of one algorithm.
pub(crate) struct Key {
    algorithm: Algorithm,
    public: ParsedPublicKey,
    /// Set once, when the issuer no longer publishes the key: tokens that were verified with it are refused from then on.
    withdrawn: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Es256,
    EdDsa,
    Rs256,
}

impl Key {
    /// Returns the `alg` of tokens that are signed with this key.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// Returns whether the signature of a message is valid.
    pub(crate) fn signed(&self, message: &str, signature: &[u8]) -> bool {
        self.public.verify_sig(message.as_bytes(), signature).is_ok()
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.public.as_ref() == other.public.as_ref()
    }
}

/// Keys by `kid`.
#[derive(Default)]
pub(crate) struct Keys(HashMap<String, Arc<Key>>);

impl Keys {
    /// Returns the usable keys of a set. A key that `before` has too stays the same object, so that cached tokens stay
    /// valid.
    pub(crate) fn of(set: &JwkSet, before: &Self) -> Result<Self, KeyError> {
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let (Some(kid), Some(algorithm)) = (&jwk.common.key_id, usable(jwk)) else { continue };
            let public = public_key(jwk, algorithm).ok_or_else(|| KeyError::Malformed(kid.clone()))?;
            let key = Key { algorithm, public, withdrawn: AtomicBool::new(false) };
            match keys.entry(kid.clone()) {
                // Which of the two verified a token would depend on their order.
                Entry::Occupied(_) => return Err(KeyError::Repeated(kid.clone())),
                Entry::Vacant(entry) => entry.insert(before.same_as(kid, &key).unwrap_or_else(|| Arc::new(key))),
            };
        }
        Ok(Self(keys))
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Arc<Key>> {
        self.0.get(kid)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Marks the keys that `after` no longer has as withdrawn.
    pub(crate) fn withdraw_all_but(&self, after: &Self) {
        for (kid, key) in &self.0 {
            if !after.get(kid).is_some_and(|kept| Arc::ptr_eq(kept, key)) {
                key.withdrawn.store(true, Ordering::Release);
            }
        }
    }

    fn same_as(&self, kid: &str, key: &Key) -> Option<Arc<Key>> {
        self.get(kid).filter(|old| old.is_same(key)).cloned()
    }
}

/// Returns the algorithm of a key. `None` for HMAC secrets, keys for encryption, and other types.
// The algorithm comes from the type of the key, never from a token: no `none`, and no HMAC with a public key as the
// secret.
fn usable(jwk: &Jwk) -> Option<Algorithm> {
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|used_for| *used_for != PublicKeyUse::Signature) {
        return None;
    }
    if common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::Es256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDsa, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::Rs256, KeyAlgorithm::RS256),
        _ => return None,
    };
    common.key_algorithm.is_none_or(|stated| stated == name).then_some(algorithm)
}

fn public_key(jwk: &Jwk, algorithm: Algorithm) -> Option<ParsedPublicKey> {
    match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(key), Algorithm::Es256) => {
            // An uncompressed point (SEC 1 §2.3.3): parsing it checks that it is on the curve.
            let point = [&[4], &*exactly(&key.x, 32)?, &*exactly(&key.y, 32)?].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDsa) => {
            ParsedPublicKey::new(&ED25519, exactly(&key.x, 32)?).ok()
        }
        (AlgorithmParameters::RSA(key), Algorithm::Rs256) => {
            let components = RsaPublicKeyComponents { n: decode(&key.n)?, e: decode(&key.e)? };
            // The library checks the size (2,048 to 8,192 bits) only when it verifies a signature.
            (256..=1024).contains(&components.n.len()).then_some(())?;
            components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
        }
        _ => None,
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn exactly(text: &str, bytes: usize) -> Option<Vec<u8>> {
    decode(text).filter(|decoded| decoded.len() == bytes)
}
