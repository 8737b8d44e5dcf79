//! bcrypt, and its wrappings by Django and passlib, which hash the password before, since bcrypt reads 72 bytes of it.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
    prelude::BASE64_STANDARD,
};

use super::{
    RefusedHash,
    refused::refuse,
    text::{bounded, fields, number},
};

const MALFORMED: RefusedHash = RefusedHash::Malformed("bcrypt");
const COSTS: std::ops::RangeInclusive<u64> = 4..=15;
const SALT_CHARACTERS: usize = 22;
const DIGEST_BYTES: usize = 23;
/// bcrypt ignores what follows.
const PASSWORD_BYTES: usize = 72;

/// The last characters of salt and digest have bits that mean nothing. Some libraries do not clear them.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// A bcrypt hash.
#[derive(Debug)]
pub(crate) struct BcryptHash {
    cost: u32,
    salt: [u8; 16],
    digest: [u8; DIGEST_BYTES],
    prehash: Prehash,
}

/// What bcrypt is given for a password.
#[derive(Debug)]
enum Prehash {
    /// The password itself.
    None,
    /// Its SHA-256 in hexadecimal digits (Django).
    HexSha256,
    /// Its SHA-256 in base64 (passlib, version 1).
    Base64Sha256,
    /// Its HMAC-SHA256 in base64, under the characters of the salt (passlib, version 2).
    Base64Hmac(String),
}

impl BcryptHash {
    /// Parses `$2b$12$SALTHASH`, of the versions `2a`, `2b` and `2y`.
    pub(super) fn parse(text: &str) -> Result<Self, RefusedHash> {
        let ["", "2a" | "2b" | "2y", cost, salt_and_digest] = fields(text).ok_or(MALFORMED)? else {
            return Err(refuse(text));
        };
        if cost.len() != 2 {
            return Err(MALFORMED);
        }
        let (salt, digest) = salt_and_digest.split_at_checked(SALT_CHARACTERS).ok_or(MALFORMED)?;
        Self::new(cost, salt, digest, Prehash::None)
    }

    /// Parses what Django writes after `bcrypt_sha256$`.
    pub(super) fn django_sha256(text: &str) -> Result<Self, RefusedHash> {
        Ok(Self { prehash: Prehash::HexSha256, ..Self::parse(text)? })
    }

    /// Parses what passlib writes after `$bcrypt-sha256$`: `v=2,t=2b,r=12$SALT$HASH`, or `2b,12$SALT$HASH` of version 1.
    pub(super) fn passlib_sha256(rest: &str) -> Result<Self, RefusedHash> {
        let [cost, salt, digest] = fields(rest).ok_or(MALFORMED)?;
        let (version, cost, prehash) = match cost.split(',').collect::<Vec<_>>()[..] {
            ["v=2", version, cost] => {
                let version = version.strip_prefix("t=").ok_or(MALFORMED)?;
                let cost = cost.strip_prefix("r=").ok_or(MALFORMED)?;
                (version, cost, Prehash::Base64Hmac(salt.to_owned()))
            }
            [version, cost] => (version, cost, Prehash::Base64Sha256),
            _ => return Err(MALFORMED),
        };
        if !matches!(version, "2a" | "2b" | "2y") {
            return Err(MALFORMED);
        }
        Self::new(cost, salt, digest, prehash)
    }

    fn new(cost: &str, salt: &str, digest: &str, prehash: Prehash) -> Result<Self, RefusedHash> {
        let cost = bounded("the cost of bcrypt", number(cost).ok_or(MALFORMED)?, COSTS)?;
        let decode = |text| BASE64.decode(text).map_err(|_| MALFORMED);
        let (salt, digest) = (decode(salt)?.try_into(), decode(digest)?.try_into());
        let (Ok(salt), Ok(digest)) = (salt, digest) else { return Err(MALFORMED) };
        Ok(Self { cost, salt, digest, prehash })
    }

    pub(super) fn nanoseconds(&self) -> u64 {
        47_000 << self.cost
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let sha256 = || digest::digest(&digest::SHA256, password);
        let prehashed = match &self.prehash {
            Prehash::None => password.to_vec(),
            Prehash::HexSha256 => sha256().as_ref().iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect(),
            Prehash::Base64Sha256 => BASE64_STANDARD.encode(sha256()).into_bytes(),
            Prehash::Base64Hmac(salt) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
                BASE64_STANDARD.encode(hmac::sign(&key, password)).into_bytes()
            }
        };
        // Ends with a zero byte, unless it fills all 72 bytes.
        let key: Vec<u8> = prehashed.into_iter().chain([0]).take(PASSWORD_BYTES).collect();
        let computed = bcrypt::bcrypt(self.cost, self.salt, &key);
        constant_time::verify_slices_are_equal(&computed[..DIGEST_BYTES], &self.digest).is_ok()
    }
}
