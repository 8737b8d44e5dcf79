//! Keys that sign access tokens: their algorithm, and how often they rotate.

use std::time::Duration;

use clap::Args;

use super::check::{Check, parse};
use crate::validation::named_enum;

#[derive(Args, Clone)]
#[command(next_help_heading = "Tokens and signing keys")]
pub(super) struct SigningKeySettings {
    #[arg(
        long,
        help = "Algorithm of new signing keys: ES256, RS256 or EdDSA",
        env = "GRANTD_SIGNING_ALGORITHM",
        value_name = "ALGORITHM",
        default_value = "ES256"
    )]
    signing_algorithm: String,
    /// Rotation period of the signing key
    #[arg(long, env = "GRANTD_SIGNING_KEY_TTL", value_name = "DURATION", default_value = "30d")]
    signing_key_ttl: String,
}

/// Algorithm and rotation of signing keys.
#[derive(Clone, Debug)]
pub struct SigningKeyConfig {
    /// The algorithm of new keys.
    pub algorithm: Algorithm,
    /// How long a key signs.
    pub ttl: Duration,
}

named_enum! {
    /// A signature algorithm of access tokens, by its name in a JOSE header (RFC 7518 §3.1, RFC 8037).
    Algorithm in "algorithm" {
        /// ECDSA on P-256 with SHA-256.
        ES256 = "ES256",
        /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
        RS256 = "RS256",
        /// Ed25519.
        EdDSA = "EdDSA",
    }
}

impl SigningKeySettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<SigningKeyConfig> {
        let algorithm = check.value("GRANTD_SIGNING_ALGORITHM", &self.signing_algorithm, parse::algorithm);
        let ttl = check.value("GRANTD_SIGNING_KEY_TTL", &self.signing_key_ttl, parse::duration);
        Some(SigningKeyConfig { algorithm: algorithm?, ttl: ttl? })
    }
}
