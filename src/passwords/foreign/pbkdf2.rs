//! PBKDF2 (RFC 8018 §5.2) with SHA-1, SHA-256 or SHA-512.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};

use super::{
    RefusedHash,
    text::{base64, bounded, check_lengths, fields, hex, number, parameters},
};

const MALFORMED: RefusedHash = RefusedHash::Malformed("PBKDF2");
const MOST_ITERATIONS: u64 = 10_000_000;
/// A hash that is longer than the digest costs all iterations once more for each further digest.
const MOST_DIGESTS: u64 = 2 * MOST_ITERATIONS;

#[derive(Clone, Copy, Debug)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

/// A PBKDF2 hash.
#[derive(Debug)]
pub(crate) struct Pbkdf2Hash {
    digest: Digest,
    iterations: NonZeroU32,
    /// Digests computed for one check.
    digests: u64,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Digest {
    fn bytes(self) -> u64 {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => PBKDF2_HMAC_SHA1,
            Self::Sha256 => PBKDF2_HMAC_SHA256,
            Self::Sha512 => PBKDF2_HMAC_SHA512,
        }
    }
}

impl Pbkdf2Hash {
    /// Parses what Django writes after `pbkdf2_sha256$`: `1000000$SALT$HASH`, the salt as it stands.
    pub(super) fn django(digest: &str, rest: &str) -> Result<Self, RefusedHash> {
        let [iterations, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        Self::new(digest, number(iterations), Some(salt.as_bytes().to_vec()), base64(hash))
    }

    /// Parses what Werkzeug writes after `pbkdf2:`: `sha256:1000000$SALT$HASH`, the salt as it stands, the hash in
    /// hexadecimal digits.
    pub(super) fn werkzeug(rest: &str) -> Result<Self, RefusedHash> {
        let [method, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        // Without iterations, they would depend on the version of Werkzeug.
        let (digest, iterations) = method.split_once(':').ok_or(MALFORMED)?;
        Self::new(digest, number(iterations), Some(salt.as_bytes().to_vec()), hex(hash))
    }

    /// Parses what passlib and LDAP write after the name: `29000$SALT$HASH`; and the form of Kratos, in which Keycloak's
    /// hashes are imported too: `i=27500,l=64$SALT$HASH`. Salt and hash are in base64.
    pub(super) fn encoded(digest: &str, rest: &str) -> Result<Self, RefusedHash> {
        let [cost, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        let (salt, hash) = (base64(salt), base64(hash));
        let iterations = match parameters(cost, ["i", "l"]) {
            Some([_, length]) if hash.as_ref().is_none_or(|hash| hash.len() as u64 != length) => return Err(MALFORMED),
            Some([iterations, _]) => Some(iterations),
            None => parameters(cost, ["i"]).map(|[iterations]| iterations).or_else(|| number(cost)),
        };
        Self::new(digest, iterations, salt, hash)
    }

    fn new(
        digest: &str,
        iterations: Option<u64>,
        salt: Option<Vec<u8>>,
        hash: Option<Vec<u8>>,
    ) -> Result<Self, RefusedHash> {
        let digest = match digest {
            "sha1" => Digest::Sha1,
            "sha256" => Digest::Sha256,
            "sha512" => Digest::Sha512,
            _ => return Err(RefusedHash::Unsupported("PBKDF2 with another digest than SHA-1, SHA-256 and SHA-512")),
        };
        let (Some(iterations), Some(salt), Some(hash)) = (iterations, salt, hash) else { return Err(MALFORMED) };
        check_lengths(&salt, &hash)?;
        let iterations = bounded("the iterations of PBKDF2", iterations, 1..=MOST_ITERATIONS)?;
        let digests = u64::from(iterations) * (hash.len() as u64).div_ceil(digest.bytes());
        bounded("the iterations of PBKDF2, times the digests in the hash,", digests, 1..=MOST_DIGESTS)?;
        let iterations = NonZeroU32::new(iterations).ok_or(MALFORMED)?;
        Ok(Self { digest, iterations, digests, salt, hash })
    }

    pub(super) fn nanoseconds(&self) -> u64 {
        self.digests * 100
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // Compares in constant time.
        pbkdf2::verify(self.digest.algorithm(), self.iterations, &self.salt, password, &self.hash).is_ok()
    }
}
