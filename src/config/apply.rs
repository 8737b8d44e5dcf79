//! The set-up file that the server applies at its start.

use std::path::PathBuf;

use clap::Args;

use super::check::parse;

#[derive(Args, Clone)]
pub(super) struct ApplySettings {
    /// A set-up file (TOML) that the server applies at each start: the desired scopes, roles, clients and users
    #[arg(long, env = "GRANTD_APPLY", value_name = "FILE", value_parser = parse::path)]
    apply: Option<PathBuf>,
}

/// The set-up file.
#[derive(Clone, Debug)]
pub struct ApplyConfig {
    /// Its path, if there is one. It is read at the start, not when settings are checked.
    pub file: Option<PathBuf>,
}

impl ApplySettings {
    pub(super) fn check(&self) -> ApplyConfig {
        ApplyConfig { file: self.apply.clone().filter(|path| !path.as_os_str().is_empty()) }
    }
}
