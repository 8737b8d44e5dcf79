//! SHA-256-crypt and SHA-512-crypt, the hashes of `/etc/shadow` that begin with `$5$` and `$6$`.

use sha_crypt::{Params, PasswordVerifier, ShaCrypt, password_hash};

use super::{
    RefusedHash,
    text::{bounded, number},
};

const MALFORMED: RefusedHash = RefusedHash::Malformed("SHA-crypt");
const MOST_ROUNDS: u64 = 1_000_000;
const MOST_SALT_CHARACTERS: usize = 16;

/// A SHA-crypt hash.
#[derive(Debug)]
pub(crate) struct ShaCryptHash {
    text: String,
    rounds: u32,
}

impl ShaCryptHash {
    /// Parses `$6$rounds=5000$SALT$HASH`, in which the rounds may be missing.
    pub(super) fn parse(text: &str) -> Result<Self, RefusedHash> {
        let (id, digest_characters, last, rest) = match (text.strip_prefix("$5$"), text.strip_prefix("$6$")) {
            (Some(rest), _) => ('5', 43, "./0123456789ABCD", rest),
            (_, Some(rest)) => ('6', 86, "./01", rest),
            _ => return Err(MALFORMED),
        };
        let fields: Vec<_> = rest.split('$').collect();
        let (rounds, salt, digest) = match fields[..] {
            [rounds, salt, digest] => (number(rounds.strip_prefix("rounds=").ok_or(MALFORMED)?), salt, digest),
            [salt, digest] => (Some(Params::RECOMMENDED_ROUNDS.into()), salt, digest),
            _ => return Err(MALFORMED),
        };
        let bounds = Params::ROUNDS_MIN.into()..=MOST_ROUNDS;
        let rounds = bounded("the rounds of SHA-crypt", rounds.ok_or(MALFORMED)?, bounds)?;
        let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
        let is_salt = (1..=MOST_SALT_CHARACTERS).contains(&salt.len()) && is_base64(salt);
        // The last character holds fewer than six bits of the digest, and the others are zero.
        if !is_salt
            || digest.len() != digest_characters
            || !is_base64(digest)
            || !digest.ends_with(|c| last.contains(c))
        {
            return Err(MALFORMED);
        }
        // The rounds always, and in one spelling: the crate takes a field of rounds that it cannot read for the salt.
        Ok(Self { text: format!("${id}$rounds={rounds}${salt}${digest}"), rounds })
    }

    pub(super) fn nanoseconds(&self) -> u64 {
        u64::from(self.rounds) * 160
    }

    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, String> {
        let verifier: &dyn PasswordVerifier<str> = &ShaCrypt::default();
        match verifier.verify_password(password, &self.text) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}
