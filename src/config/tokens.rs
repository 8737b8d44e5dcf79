//! Access tokens, refresh tokens and sessions: audience, lifetimes, password grant.

use std::time::Duration;

use clap::Args;

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
    /// Whether anybody may use the password grant (`false`: the OAuth 2.1 profile)
    #[arg(long, env = "GRANTD_PASSWORD_GRANT", value_name = "BOOL", default_value = "true")]
    password_grant: String,
}

/// Audience and lifetimes of tokens, and the password grant.
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
    /// Whether the password grant is on.
    pub password_grant: bool,
}

fn audience(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if plain { Ok(text.to_owned()) } else { Err("allowed is a URI or name without spaces".to_owned()) }
}

impl TokenSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<TokenConfig> {
        let audience = check.optional("GRANTD_AUDIENCE", self.audience.as_ref(), audience);
        let access = check.value("GRANTD_ACCESS_TOKEN_TTL", &self.access_token_ttl, parse::duration);
        let refresh = check.value("GRANTD_REFRESH_TOKEN_TTL", &self.refresh_token_ttl, parse::duration);
        let session = check.value("GRANTD_SESSION_TTL", &self.session_ttl, parse::duration);
        let leeway = check.value("GRANTD_REFRESH_LEEWAY", &self.refresh_leeway, parse::duration);
        let password_grant = check.value("GRANTD_PASSWORD_GRANT", &self.password_grant, parse::boolean);
        Some(TokenConfig {
            audience: audience?,
            access_token_ttl: access?,
            refresh_token_ttl: refresh?,
            session_ttl: session?,
            refresh_leeway: leeway?,
            password_grant: password_grant?,
        })
    }
}
