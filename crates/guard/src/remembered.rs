//! The cache of verified tokens, which saves the check of the signature.

use std::sync::Arc;

use aws_lc_rs::digest;
use quick_cache::{Weighter, sync::Cache};

use crate::{Claims, keys::Key};

/// The SHA-256 of a token, the key of the cache. The token itself is not cached, since it would be a credential in
/// memory.
pub(crate) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// Verified claims, and the key of their signature.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) claims: Arc<Claims>,
    pub(crate) key: Arc<Key>,
    /// The length of the token, which approximates the memory of the claims.
    bytes: u64,
}

/// A bounded cache of verified tokens. Refusals are not cached: invalid tokens could evict all valid ones.
pub(crate) struct Remembered(Cache<Digest, Verified, Bytes>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Digest, Verified> for Bytes {
    fn weight(&self, _: &Digest, verified: &Verified) -> u64 {
        verified.bytes
    }
}

impl Remembered {
    /// Creates a cache for tokens of this total length.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(bytes / 1024, bytes as u64, Bytes))
    }

    pub(crate) fn digest(token: &str) -> Digest {
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        bytes
    }

    /// Returns the claims of a cached token, if its key was not withdrawn.
    pub(crate) fn get(&self, token: &Digest) -> Option<Arc<Claims>> {
        let verified = self.0.get(token)?;
        // A verification that ran while its key was withdrawn may have inserted its token after `forget_withdrawn`.
        (!verified.key.is_withdrawn()).then_some(verified.claims)
    }

    pub(crate) fn insert(&self, digest: Digest, token: &str, claims: Arc<Claims>, key: Arc<Key>) {
        self.0.insert(digest, Verified { claims, key, bytes: token.len() as u64 });
    }

    pub(crate) fn forget(&self, token: &Digest) {
        self.0.remove(token);
    }

    /// Removes the tokens that were verified with withdrawn keys.
    pub(crate) fn forget_withdrawn(&self) {
        self.0.retain(|_, verified| !verified.key.is_withdrawn());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
