//! Secrets: the master key, which seals other secrets, generated client secrets, and the passwords of users.

mod password;

use std::sync::Arc;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretBox, SecretString};

pub use self::password::Password;

const NONCE_LEN: usize = 12;

/// The error if the operating system's random number generator fails.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// Returns `N` random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// The master key: 32 bytes that seal all other secrets at rest. Clones share the key.
#[derive(Clone, Debug)]
pub struct MasterKey(Arc<SecretBox<[u8; 32]>>);

/// The error for bytes that were sealed under another key or for another context, or were changed.
#[derive(Debug, thiserror::Error)]
#[error("sealed under another key")]
pub struct Unsealable;

impl MasterKey {
    /// Generates a random key.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self(Arc::new(SecretBox::new(Box::new(random()?)))))
    }

    /// Parses a key in base64url, with or without padding.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?;
        Some(Self(Arc::new(SecretBox::new(Box::new(bytes.try_into().ok()?)))))
    }

    /// Returns the key in base64url, for storage.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.0.expose_secret()).into()
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.0.expose_secret()).ok()
    }

    /// Encrypts bytes with AES-256-GCM, and returns a random nonce and the ciphertext. `context` is authenticated and
    /// must be the same in [`MasterKey::open`]: a sealed secret cannot be swapped for another one in the database.
    pub fn seal(&self, plain: &[u8], context: &str) -> Result<Vec<u8>, NoRandomness> {
        let mut sealed = plain.to_vec();
        // Random nonces are safe for 2^32 messages under one key (NIST SP 800-38D §8.3). A database has a few keys: not for
        // data that is sealed at each request.
        let nonce = self
            .cipher()
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed).ok())
            .ok_or(NoRandomness)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Decrypts bytes from [`MasterKey::seal`].
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<SecretBox<Vec<u8>>, Unsealable> {
        // The nonce is random for each `seal`, and stored before the ciphertext.
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut plain = sealed.to_vec();
        let length = self
            .cipher()
            .ok_or(Unsealable)?
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut plain)
            .map_err(|_| Unsealable)?
            .len();
        plain.truncate(length);
        Ok(SecretBox::new(Box::new(plain)))
    }
}

/// The prefix of client secrets, which secret scanners search for. It must never change, like [`API_KEY`].
pub const CLIENT_SECRET: &str = "grs_";
/// The prefix of API keys.
pub const API_KEY: &str = "grk_";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 43 digits hold 256 bits.
const BODY_LEN: usize = 43;
/// 62^6 > 2^32.
const CHECKSUM_LEN: usize = 6;

/// Returns the CRC-32 of a text in base62, six characters: it tells a typo from a wrong secret without the database.
pub(crate) fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// Returns the text without its checksum. `None`: the checksum is wrong.
pub(crate) fn without_checksum(text: &str) -> Option<&str> {
    let (body, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_LEN)?)?;
    // Not in constant time: anybody can compute a checksum. The secret itself is compared by its hash.
    (checksum(body) == sum).then_some(body)
}

/// Generates a secret with 256 random bits: the prefix, the bits in base62, the checksum.
pub fn generate(prefix: &str) -> Result<SecretString, NoRandomness> {
    // 248 is a multiple of 62: bytes from 248 on would make some digits more likely than others, and are skipped.
    let mut body = String::from(prefix);
    while body.len() < prefix.len() + BODY_LEN {
        let random: [u8; 64] = random()?;
        let missing = prefix.len() + BODY_LEN - body.len();
        body.extend(random.iter().filter(|b| **b < 248).take(missing).map(|b| char::from(BASE62[(b % 62) as usize])));
    }
    let sum = checksum(&body);
    Ok((body + &sum).into())
}

/// Returns whether a text has the format of a generated secret with this prefix, and the right checksum.
pub(crate) fn is_generated(prefix: &str, text: &str) -> bool {
    let body = text.strip_prefix(prefix).filter(|_| without_checksum(text).is_some());
    body.is_some_and(|body| body.len() == BODY_LEN + CHECKSUM_LEN && body.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Returns the SHA-256 of a generated secret, which is stored instead of it. A slow hash is not needed, since 256 random
/// bits cannot be guessed.
#[must_use]
pub fn fingerprint(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sealed_bytes_open_under_the_same_key_and_context_only() {
        let key = MasterKey::generate().unwrap();
        let sealed = key.seal(b"private", "kid-1").unwrap();
        assert_eq!(*key.open(&sealed, "kid-1").unwrap().expose_secret(), b"private");
        assert!(key.open(&sealed, "kid-2").is_err());
        assert!(MasterKey::generate().unwrap().open(&sealed, "kid-1").is_err());
        assert!(key.open(&sealed[..10], "kid-1").is_err());
    }

    #[test]
    fn generated_secrets_differ_and_carry_a_checksum() {
        let one = generate(CLIENT_SECRET).unwrap();
        let one = one.expose_secret();
        assert_eq!(one.len(), 4 + 43 + 6);
        assert!(without_checksum(one).is_some() && is_generated(CLIENT_SECRET, one));
        assert!(!is_generated(CLIENT_SECRET, &one[1..]) && !is_generated(CLIENT_SECRET, &format!("{one}0")));
        assert_ne!(one, generate(CLIENT_SECRET).unwrap().expose_secret());
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = MasterKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(key.to_text().expose_secret()));
        assert_eq!(format!("{key:?}"), "MasterKey(SecretBox<[u8; 32]>([REDACTED]))");
    }

    proptest! {
        #[test]
        fn any_text_has_a_checksum_or_has_not(text in "\\PC{0,40}") {
            let body = without_checksum(&text).map(ToOwned::to_owned);
            prop_assert!(body.is_none() || text.starts_with(&body.unwrap()));
            let checked = format!("{text}{}", checksum(&text));
            prop_assert_eq!(without_checksum(&checked), Some(text.as_str()));
        }
    }
}
