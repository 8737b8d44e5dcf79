//! Tokens whose signature was checked before: seeing one again costs a digest.

use std::sync::Arc;

use aws_lc_rs::digest;
use quick_cache::{Weighter, sync::Cache};

use crate::{Claims, keys::Key};

/// SHA-256 of a token. The token itself is not kept: it would be a credential in memory.
pub(crate) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// Claims that were verified, and the key that signed them.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) claims: Arc<Claims>,
    pub(crate) key: Arc<Key>,
    /// The token's length, near enough to what the claims take.
    bytes: u64,
}

/// A bounded store of verified tokens. Refusals are not in it: there is no end of wrong tokens.
pub(crate) struct Remembered(Cache<Digest, Verified, Bytes>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Digest, Verified> for Bytes {
    fn weight(&self, _: &Digest, verified: &Verified) -> u64 {
        verified.bytes
    }
}

impl Remembered {
    /// For tokens of this total length.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(bytes / 1024, bytes as u64, Bytes))
    }

    pub(crate) fn digest(token: &str) -> Digest {
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        bytes
    }

    /// Claims that were verified with a key that still counts.
    pub(crate) fn get(&self, token: &Digest) -> Option<Arc<Claims>> {
        let verified = self.0.get(token)?;
        // A check that was under way when its key went may have come in after the others were forgotten.
        (!verified.key.is_withdrawn()).then_some(verified.claims)
    }

    pub(crate) fn insert(&self, digest: Digest, token: &str, claims: Arc<Claims>, key: Arc<Key>) {
        self.0.insert(digest, Verified { claims, key, bytes: token.len() as u64 });
    }

    pub(crate) fn forget(&self, token: &Digest) {
        self.0.remove(token);
    }

    /// Drops what was verified with keys that are gone.
    pub(crate) fn forget_withdrawn(&self) {
        self.0.retain(|_, verified| !verified.key.is_withdrawn());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
