//! The hashes that this server makes, Argon2id: parameters, PHC strings, and the computation.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use aws_lc_rs::constant_time;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};

use super::foreign::argon2_nanoseconds;
use crate::secret::{self, NoRandomness, Password};

const MOST_MEMORY_KIB: u32 = 4 << 20;
const MOST_ITERATIONS: u32 = 1000;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// The parameters of an Argon2id hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    params: Params,
}

/// A hash that this server made, with these parameters or others.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) recipe: Recipe,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Recipe {
    /// Returns parameters with one lane and 32 bytes of output.
    pub(super) fn new(memory_kib: u32, iterations: u32) -> Result<Self, argon2::Error> {
        Ok(Self { params: Params::new(memory_kib, iterations, LANES, None)? })
    }

    /// Returns the size of the memory, in blocks of 1 KiB.
    pub(super) fn blocks(&self) -> usize {
        self.params.block_count()
    }

    /// Returns about how long the computation takes, for a comparison with other hashes.
    pub(super) fn nanoseconds(&self) -> u64 {
        argon2_nanoseconds(self.params.m_cost(), self.params.t_cost())
    }

    /// Computes the digest of a password. `memory` has at least [`Recipe::blocks`] blocks.
    pub(super) fn compute(&self, password: &[u8], salt: &[u8], memory: &mut [Block]) -> Result<Vec<u8>, argon2::Error> {
        let mut digest = vec![0; OUTPUT_BYTES];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let memory = memory.get_mut(..self.blocks()).ok_or(argon2::Error::MemoryTooLittle)?;
        argon2.hash_password_into_with_memory(password, salt, &mut digest, memory)?;
        Ok(digest)
    }

    /// Returns the PHC string of a digest with these parameters.
    pub(super) fn phc(&self, salt: &[u8], digest: &[u8]) -> String {
        let (m, t, p) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        let [salt, digest] = [salt, digest].map(|bytes| BASE64_STANDARD_NO_PAD.encode(bytes));
        format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${digest}")
    }
}

impl Stored {
    /// Returns a dummy hash with these parameters.
    pub(super) fn dummy(recipe: &Recipe) -> Result<Self, NoRandomness> {
        let (salt, digest) = (secret::random::<SALT_BYTES>()?.to_vec(), secret::random::<OUTPUT_BYTES>()?.to_vec());
        Ok(Self { recipe: recipe.clone(), salt, digest })
    }

    /// Parses a PHC string. `None`: this server did not make it.
    pub(super) fn parse(phc: &str) -> Option<Self> {
        let parsed = PasswordHash::new(phc).ok()?;
        if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(19) {
            return None;
        }
        let (salt, digest) = (parsed.salt?.to_vec(), parsed.hash?.as_bytes().to_vec());
        let of = |name| parsed.params.get_decimal(name);
        let (m, t, p) = (of("m")?, of("t")?, of("p")?);
        // The limits of the settings: a corrupt row must not allocate all the memory of the machine.
        let is_allowed = m <= MOST_MEMORY_KIB && t <= MOST_ITERATIONS && p == LANES;
        if !is_allowed || salt.len() != SALT_BYTES || digest.len() != OUTPUT_BYTES {
            return None;
        }
        Some(Self { recipe: Recipe::new(m, t).ok()?, salt, digest })
    }

    /// Returns whether a password is right, in NFC or as it was sent: a hash with these parameters may have been imported.
    pub(super) fn verify(&self, password: &Password, memory: &mut [Block]) -> Result<bool, argon2::Error> {
        for bytes in [Some(password.as_bytes()), password.as_sent()].into_iter().flatten() {
            let digest = self.recipe.compute(bytes, &self.salt, memory)?;
            if constant_time::verify_slices_are_equal(&digest, &self.digest).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
