//! Argon2id hashes: parameters, PHC strings, and the computation.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};

const MOST_MEMORY_KIB: u32 = 4 << 20;
const MOST_ITERATIONS: u32 = 1000;
const MOST_LANES: u32 = 64;

/// The parameters of an Argon2id hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    params: Params,
    output_bytes: usize,
}

/// The error for a stored text that is not an Argon2id hash of version 1.3 with salt and digest.
#[derive(Debug)]
pub struct UnusableHash;

/// A parsed PHC string.
pub(super) struct Stored {
    pub(super) recipe: Recipe,
    pub(super) salt: Vec<u8>,
    pub(super) digest: Vec<u8>,
}

impl Recipe {
    /// Returns parameters with one lane and 32 bytes of output.
    pub(super) fn new(memory_kib: u32, iterations: u32) -> Result<Self, argon2::Error> {
        Ok(Self { params: Params::new(memory_kib, iterations, 1, None)?, output_bytes: 32 })
    }

    /// Returns the size of the memory, in blocks of 1 KiB.
    pub(super) fn blocks(&self) -> usize {
        self.params.block_count()
    }

    /// Computes the digest of a password. `memory` has at least [`Recipe::blocks`] blocks.
    pub(super) fn compute(&self, password: &[u8], salt: &[u8], memory: &mut [Block]) -> Result<Vec<u8>, argon2::Error> {
        let mut digest = vec![0; self.output_bytes];
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
    /// Parses a PHC string.
    pub(super) fn parse(phc: &str) -> Result<Self, UnusableHash> {
        let parsed = PasswordHash::new(phc).map_err(|_| UnusableHash)?;
        if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(19) {
            return Err(UnusableHash);
        }
        let (Some(salt), Some(digest)) = (parsed.salt, parsed.hash) else { return Err(UnusableHash) };
        let of = |name| parsed.params.get_decimal(name);
        let (Some(m), Some(t), Some(p)) = (of("m"), of("t"), of("p")) else { return Err(UnusableHash) };
        // The limits of the settings: a corrupt row must not allocate all the memory of the machine.
        if m > MOST_MEMORY_KIB || t > MOST_ITERATIONS || p > MOST_LANES {
            return Err(UnusableHash);
        }
        let params = Params::new(m, t, p, None).map_err(|_| UnusableHash)?;
        Ok(Self {
            recipe: Recipe { params, output_bytes: digest.len() },
            salt: salt.to_vec(),
            digest: digest.as_bytes().to_vec(),
        })
    }
}
