//! The key that seals all secrets in the database.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use secrecy::ExposeSecret;

use super::{
    check::{Check, parse},
    database::{DatabaseConfig, DatabaseUrl},
};
use crate::secret::MasterKey;

#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Master key")]
pub(super) struct MasterKeySettings {
    /// Key that encrypts all secrets in the database, as printed by `grantd keygen`
    ///
    /// 32 bytes in base64url. SQLite: generated beside a new database as `master.key`; Postgres: required.
    #[arg(long, env = "GRANTD_MASTER_KEY", value_name = "KEY", allow_hyphen_values = true)]
    master_key: Option<String>,
    /// File that holds `GRANTD_MASTER_KEY`
    #[arg(long, env = "GRANTD_MASTER_KEY_FILE", value_name = "FILE", value_parser = parse::path)]
    master_key_file: Option<PathBuf>,
}

/// The source of the master key.
#[derive(Debug)]
pub enum MasterKeySource {
    /// A setting.
    Given {
        /// The key.
        key: MasterKey,
        /// The file that `GRANTD_MASTER_KEY_FILE` names, if the key comes from it.
        file: Option<PathBuf>,
    },
    /// A file beside the SQLite database, created with it.
    Beside(PathBuf),
}

impl fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given { file: Some(file), .. } => write!(f, "{} (GRANTD_MASTER_KEY_FILE)", file.display()),
            Self::Given { file: None, .. } => f.write_str("the setting GRANTD_MASTER_KEY"),
            Self::Beside(file) => file.display().fmt(f),
        }
    }
}

impl MasterKeySettings {
    pub(super) fn check(&self, check: &mut Check, database: Option<&DatabaseConfig>) -> Option<MasterKeySource> {
        let is_set = self.master_key.as_ref().is_some_and(|text| !text.is_empty());
        if let (false, Some(path)) = (is_set, &self.master_key_file)
            && let Err(problem) = only_ours(path)
        {
            check.problem("GRANTD_MASTER_KEY_FILE", problem);
            return None;
        }
        match check.secret("GRANTD_MASTER_KEY", self.master_key.as_ref(), self.master_key_file.as_deref())? {
            Some(text) => {
                let key = MasterKey::parse(text.expose_secret());
                if key.is_none() {
                    check.problem("GRANTD_MASTER_KEY", "not 32 bytes in base64url; `grantd keygen` prints a new one");
                }
                let file = self.master_key_file.clone().filter(|_| !is_set);
                key.map(|key| MasterKeySource::Given { key, file })
            }
            None => match &database?.url {
                DatabaseUrl::Sqlite(path) => Some(MasterKeySource::Beside(path.with_file_name("master.key"))),
                DatabaseUrl::Postgres(_) => {
                    check.problem(
                        "GRANTD_MASTER_KEY",
                        "required with Postgres; `grantd keygen` prints one. Keep it: a database cannot be opened without its \
                         master key",
                    );
                    None
                }
            },
        }
    }
}

/// Reads the key from a file, which must not be readable by other users.
pub(crate) fn read_master_key(path: &Path) -> Result<MasterKey, String> {
    only_ours(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    MasterKey::parse(&text).ok_or_else(|| "does not hold 32 bytes in base64url".to_owned())
}

/// Checks that a file with a secret is not readable by other users.
pub(crate) fn only_ours(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o004 != 0 => {
            Err(format!("its mode lets other users read it: run `chmod 600 {0}`", path.display()))
        }
        _ => Ok(()),
    }
}
