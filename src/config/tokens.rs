//! Access tokens, refresh tokens and sessions: audience, lifetimes, password grant.

use std::time::Duration;

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Tokens and signing keys")]
pub(super) struct TokenSettings {
    /// `aud` of tokens of clients without audiences of their own
    ///
    /// When not set, the issuer.
    #[arg(long, env = "GRANTD_AUDIENCE", value_name = "URI")]
    audience: Option<String>,
    /// Lifetime of an access token
    #[arg(long, env = "GRANTD_ACCESS_TOKEN_TTL", value_name = "DURATION", default_value = "15m")]
    access_token_ttl: String,
    /// Lifetime of a refresh token that is not used
    #[arg(long, env = "GRANTD_REFRESH_TOKEN_TTL", value_name = "DURATION", default_value = "30d")]
    refresh_token_ttl: String,
    /// Maximum session lifetime, however often the session is refreshed
    #[arg(long, env = "GRANTD_SESSION_TTL", value_name = "DURATION", default_value = "90d")]
    session_ttl: String,
    /// Grace period for a retry with the previous refresh token
    ///
    /// For public clients whose response was lost.
    #[arg(long, env = "GRANTD_REFRESH_LEEWAY", value_name = "DURATION", default_value = "30s")]
    refresh_leeway: String,
    /// Enable the password grant; `false` is the OAuth 2.1 profile
    #[arg(long, env = "GRANTD_PASSWORD_GRANT", value_name = "BOOL", default_value = "true")]
    password_grant: String,
}

/// Audience and lifetimes of tokens, and the password grant.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The default `aud`; `None`: the issuer.
    pub audience: Option<String>,
    /// Lifetime of an access token.
    pub access_token_ttl: Duration,
    /// Lifetime of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// Maximum lifetime of a session.
    pub session_ttl: Duration,
    /// Grace period for a public client after a lost response, counted from the rotation.
    pub refresh_leeway: Duration,
    /// Whether the password grant is on.
    pub password_grant: bool,
}

fn audience(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if plain { Ok(text.to_owned()) } else { Err("allowed is a URI or name without spaces".to_owned()) }
}

impl TokenSettings {
    pub(super) fn remove_audience(&mut self) {
        self.audience = None;
    }

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
