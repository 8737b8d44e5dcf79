//! Argon2i, Argon2d and Argon2id of both versions (RFC 9106), as PHC strings.

use argon2::{Algorithm, Argon2, Params, Version};

use super::{
    RefusedHash,
    text::{base64, bounded, fields, number, parameters},
};
use crate::passwords::pool::Memory;

const NAME: &str = "Argon2";
const MALFORMED: RefusedHash = RefusedHash::Malformed(NAME);
const MOST_MEMORY_KIB: u64 = 256 << 10;
const MOST_ITERATIONS: u64 = 10;
const MOST_LANES: u64 = 16;

/// An Argon2 hash.
#[derive(Debug)]
pub(crate) struct Argon2Hash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Argon2Hash {
    /// Parses what follows the name of the algorithm: `v=19$m=65536,t=3,p=4$SALT$HASH`.
    pub(super) fn parse(algorithm: Algorithm, rest: &str) -> Result<Self, RefusedHash> {
        let (version, rest) = match rest.strip_prefix("v=").and_then(|rest| rest.split_once('$')) {
            Some((version, rest)) => (number(version), rest),
            // Versions before 1.1 of the PHC strings' own library wrote none. `argon2` would take 0x13, and call the right
            // password wrong.
            None => (Some(16), rest),
        };
        let version = match version {
            Some(16) => Version::V0x10,
            Some(19) => Version::V0x13,
            _ => return Err(MALFORMED),
        };
        let [cost, salt, digest] = fields(rest).ok_or(MALFORMED)?;
        if cost.contains("keyid=") || cost.contains("data=") {
            return Err(RefusedHash::Unsupported("Argon2 with a secret key or associated data"));
        }
        let [m, t, p] = parameters(cost, ["m", "t", "p"]).ok_or(MALFORMED)?;
        let lanes = bounded("the parallelism p of Argon2", p, 1..=MOST_LANES)?;
        let memory = bounded("the memory m of Argon2 in KiB", m, u64::from(lanes) * 8..=MOST_MEMORY_KIB)?;
        let iterations = bounded("the iterations t of Argon2", t, 1..=MOST_ITERATIONS)?;
        let (salt, digest) = (base64(salt).ok_or(MALFORMED)?, base64(digest).ok_or(MALFORMED)?);
        // The limits of RFC 9106 §3.1 below, and this server's above.
        bounded("the length of the salt in bytes", salt.len() as u64, argon2::MIN_SALT_LEN as u64..=256)?;
        bounded("the length of the hash in bytes", digest.len() as u64, Params::MIN_OUTPUT_LEN as u64..=512)?;
        let params = Params::new(memory, iterations, lanes, None).map_err(|_| MALFORMED)?;
        Ok(Self { algorithm, version, params, salt, digest })
    }

    pub(super) fn memory_kib(&self) -> u64 {
        self.params.m_cost().into()
    }

    pub(super) fn nanoseconds(&self) -> u64 {
        nanoseconds(self.params.m_cost(), self.params.t_cost())
    }

    /// `least_blocks`: the size of the memory that the thread keeps, which is used whole so that it need not be allocated
    /// again.
    pub(super) fn verify(&self, password: &[u8], memory: &mut Memory, least_blocks: usize) -> Result<bool, String> {
        let mut digest = vec![0; self.digest.len()];
        let blocks = memory.blocks(self.params.block_count().max(least_blocks));
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        let done = argon2.hash_password_into_with_memory(password, &self.salt, &mut digest, blocks);
        done.map_err(|error| error.to_string())?;
        Ok(aws_lc_rs::constant_time::verify_slices_are_equal(&digest, &self.digest).is_ok())
    }
}

/// Returns about how long an Argon2 hash takes, of whichever kind.
pub(crate) fn nanoseconds(memory_kib: u32, iterations: u32) -> u64 {
    u64::from(memory_kib) * u64::from(iterations) * 600
}
