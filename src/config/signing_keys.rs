//! Keys that sign access tokens: their algorithm, and how often they rotate.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::check::{Check, parse};

#[derive(Args, Clone)]
pub(super) struct SigningKeySettings {
    #[arg(
        long,
        help = "Algorithm of new signing keys: ES256, RS256 or EdDSA",
        env = "GRANTD_SIGNING_ALGORITHM",
        value_name = "ALGORITHM",
        default_value = "ES256"
    )]
    signing_algorithm: String,
    /// How long a signing key signs before it is rotated
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

/// A signature algorithm of access tokens (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Returns its name in a JOSE header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Finds it by its name in a JOSE header.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ES256, Self::RS256, Self::EdDSA].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl SigningKeySettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<SigningKeyConfig> {
        let algorithm = check.value("GRANTD_SIGNING_ALGORITHM", &self.signing_algorithm, parse::algorithm);
        let ttl = check.value("GRANTD_SIGNING_KEY_TTL", &self.signing_key_ttl, parse::duration);
        Some(SigningKeyConfig { algorithm: algorithm?, ttl: ttl? })
    }
}
