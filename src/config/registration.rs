//! Self-registration of users.

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Users and set-up")]
pub(super) struct RegistrationSettings {
    /// Enable self-registration of users
    ///
    /// Anybody may then create an account, which has the role `member`.
    #[arg(long, env = "GRANTD_REGISTRATION", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    registration: String,
}

impl RegistrationSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<bool> {
        check.value("GRANTD_REGISTRATION", &self.registration, parse::boolean)
    }
}
