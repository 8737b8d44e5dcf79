//! The set-up file that the server applies at its start.

use std::path::PathBuf;

use clap::Args;

use super::check::parse;

#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Users and set-up")]
pub(super) struct ApplySettings {
    /// Set-up file (TOML) to apply at each start
    ///
    /// It holds the desired scopes, roles, clients and users.
    #[arg(long, env = "GRANTD_APPLY", value_name = "FILE", value_parser = parse::path)]
    apply: Option<PathBuf>,
}

impl ApplySettings {
    /// The file is read at the start, not when settings are checked.
    pub(super) fn check(&self) -> Option<PathBuf> {
        self.apply.clone().filter(|path| !path.as_os_str().is_empty())
    }
}
