//! The key that seals all secrets in the database.

use std::path::{Path, PathBuf};

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
    Given(MasterKey),
    /// A file beside the SQLite database, created with it.
    Beside(PathBuf),
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
                key.map(MasterKeySource::Given)
            }
            None => match &database?.url {
                DatabaseUrl::Sqlite(path) => Some(MasterKeySource::Beside(path.with_file_name("master.key"))),
                DatabaseUrl::Postgres(_) => {
                    check.problem(
                        "GRANTD_MASTER_KEY",
                        "needed with Postgres; `grantd keygen` prints one. Keep it: without it the database is useless",
                    );
                    None
                }
            },
        }
    }
}

/// Reads the key from a file, which must not be readable by everybody.
pub(crate) fn read_master_key(path: &Path) -> Result<MasterKey, String> {
    only_ours(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    MasterKey::parse(&text).ok_or_else(|| "does not hold 32 bytes in base64url".to_owned())
}

/// Checks that a file with a secret is not readable by everybody.
pub(crate) fn only_ours(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o004 != 0 => {
            Err(format!("its mode lets other users read it: run `chmod 600 {0}`", path.display()))
        }
        _ => Ok(()),
    }
}
