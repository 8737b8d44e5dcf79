//! Self-registration of users.

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
pub(super) struct RegistrationSettings {
    /// Enables self-registration: anybody may create an account, with the role `member`
    #[arg(long, env = "GRANTD_REGISTRATION", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    registration: String,
}

impl RegistrationSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<bool> {
        check.value("GRANTD_REGISTRATION", &self.registration, parse::boolean)
    }
}
