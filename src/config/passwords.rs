//! Rules for new passwords.

use std::path::PathBuf;

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "New passwords")]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct PasswordSettings {
    /// Minimum length of a new password, in characters
    #[arg(long, env = "GRANTD_PASSWORD_MIN_LENGTH", value_name = "NUMBER", default_value = "8")]
    password_min_length: String,
    /// Minimum strength of a new password: 0 (any) to 4, as zxcvbn estimates it
    ///
    /// Common passwords are refused at each strength.
    #[arg(long, env = "GRANTD_PASSWORD_MIN_STRENGTH", value_name = "NUMBER", default_value = "2")]
    password_min_strength: String,
    /// File of refused passwords: one a line, or SHA-1 digests as of Have I Been Pwned
    ///
    /// Digests must be in ascending order; that file is searched on disk and never read whole.
    #[arg(long, env = "GRANTD_PASSWORD_BLOCKLIST", value_name = "FILE", value_parser = parse::path)]
    password_blocklist: Option<PathBuf>,
}

/// Rules for new passwords.
#[derive(Clone, Debug)]
pub struct PasswordConfig {
    /// Minimum length, in characters.
    pub min_length: usize,
    /// Minimum strength, from 0 to 4.
    pub min_strength: u8,
    /// The file of refused passwords.
    pub blocklist: Option<PathBuf>,
}

impl PasswordSettings {
    /// The blocklist is opened at the start, not when settings are checked.
    pub(super) fn check(&self, check: &mut Check) -> Option<PasswordConfig> {
        let length =
            check.value("GRANTD_PASSWORD_MIN_LENGTH", &self.password_min_length, |n| parse::number(n, 1, 1024));
        let strength =
            check.value("GRANTD_PASSWORD_MIN_STRENGTH", &self.password_min_strength, |n| parse::number(n, 0, 4));
        Some(PasswordConfig {
            min_length: length? as usize,
            min_strength: u8::try_from(strength?).ok()?,
            blocklist: self.password_blocklist.clone().filter(|path| !path.as_os_str().is_empty()),
        })
    }
}
