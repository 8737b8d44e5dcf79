//! Credentials that protected routes accept beside access tokens.

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Users and set-up")]
pub(super) struct CredentialSettings {
    /// Accept HTTP Basic with a username and password on protected routes
    #[arg(long, env = "GRANTD_BASIC_AUTH", value_name = "BOOL", default_value = "true")]
    basic_auth: String,
    /// Accept API keys in the query, as `?api_key=`
    ///
    /// Queries end up in the logs of proxies. Send keys in the header `X-API-Key` if you can.
    #[arg(long, env = "GRANTD_API_KEY_QUERY", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    api_key_query: String,
}

/// Credentials that protected routes accept beside access tokens and API keys in a header.
#[derive(Clone, Copy, Debug)]
pub struct CredentialConfig {
    /// HTTP Basic with a username and password.
    pub basic: bool,
    /// API keys in the query.
    pub api_key_query: bool,
}

impl CredentialSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<CredentialConfig> {
        let basic = check.value("GRANTD_BASIC_AUTH", &self.basic_auth, parse::boolean);
        let api_key_query = check.value("GRANTD_API_KEY_QUERY", &self.api_key_query, parse::boolean);
        Some(CredentialConfig { basic: basic?, api_key_query: api_key_query? })
    }
}
