//! What tokens say, how long they live, what signs them.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::check::{Check, parse};

#[derive(Args, Clone)]
pub(super) struct TokenSettings {
    /// `aud` of tokens of clients that have no audiences of their own; when absent, the issuer
    #[arg(long, env = "GRANTD_AUDIENCE", value_name = "URI")]
    audience: Option<String>,
    /// How long an access token lives
    #[arg(long, env = "GRANTD_ACCESS_TOKEN_TTL", value_name = "DURATION", default_value = "15m")]
    access_token_ttl: String,
    /// How long a refresh token lives when it is not used
    #[arg(long, env = "GRANTD_REFRESH_TOKEN_TTL", value_name = "DURATION", default_value = "30d")]
    refresh_token_ttl: String,
    /// How long a session lives at most, however often it is refreshed
    #[arg(long, env = "GRANTD_SESSION_TTL", value_name = "DURATION", default_value = "90d")]
    session_ttl: String,
    /// How long a public client may come again with the refresh token before, whose answer was lost
    #[arg(long, env = "GRANTD_REFRESH_LEEWAY", value_name = "DURATION", default_value = "30s")]
    refresh_leeway: String,
    #[arg(
        long,
        help = "What signs tokens: ES256, RS256 or EdDSA",
        env = "GRANTD_SIGNING_ALGORITHM",
        value_name = "ALGORITHM",
        default_value = "ES256"
    )]
    signing_algorithm: String,
    /// How long a signing key signs before another takes its place
    #[arg(long, env = "GRANTD_SIGNING_KEY_TTL", value_name = "DURATION", default_value = "30d")]
    signing_key_ttl: String,
    /// Whether anybody may use the password grant (`false`: the OAuth 2.1 profile)
    #[arg(long, env = "GRANTD_PASSWORD_GRANT", value_name = "BOOL", default_value = "true")]
    password_grant: String,
}

/// What tokens say and how long they live.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The default `aud`; `None`: the issuer.
    pub audience: Option<String>,
    /// Of an access token.
    pub access_token_ttl: Duration,
    /// Of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// Of a session, whatever happens.
    pub session_ttl: Duration,
    /// For a public client whose answer was lost, from the rotation on.
    pub refresh_leeway: Duration,
    /// What signs.
    pub algorithm: Algorithm,
    /// How long a key signs.
    pub signing_key_ttl: Duration,
    /// Whether the password grant is on.
    pub password_grant: bool,
}

/// What signs access tokens (RFC 7518 §3.1, RFC 8037).
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
    /// Its name in a JOSE header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// By its name in a JOSE header.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ES256, Self::RS256, Self::EdDSA].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

fn audience(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if plain { Ok(text.to_owned()) } else { Err("allowed is a URI or name without spaces".to_owned()) }
}

impl TokenSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<TokenConfig> {
        let audience = match self.audience.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => check.value("GRANTD_AUDIENCE", text, audience).map(Some),
            None => Some(None),
        };
        let access = check.value("GRANTD_ACCESS_TOKEN_TTL", &self.access_token_ttl, parse::duration);
        let refresh = check.value("GRANTD_REFRESH_TOKEN_TTL", &self.refresh_token_ttl, parse::duration);
        let session = check.value("GRANTD_SESSION_TTL", &self.session_ttl, parse::duration);
        let leeway = check.value("GRANTD_REFRESH_LEEWAY", &self.refresh_leeway, parse::duration);
        let algorithm = check.value("GRANTD_SIGNING_ALGORITHM", &self.signing_algorithm, parse::algorithm);
        let key_ttl = check.value("GRANTD_SIGNING_KEY_TTL", &self.signing_key_ttl, parse::duration);
        let password_grant = check.value("GRANTD_PASSWORD_GRANT", &self.password_grant, parse::boolean);
        Some(TokenConfig {
            audience: audience?,
            access_token_ttl: access?,
            refresh_token_ttl: refresh?,
            session_ttl: session?,
            refresh_leeway: leeway?,
            algorithm: algorithm?,
            signing_key_ttl: key_ttl?,
            password_grant: password_grant?,
        })
    }
}
