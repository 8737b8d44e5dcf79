//! What there is to be in the database: what the first start makes, and a file that says more.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::check::{Check, parse};
use crate::{names::Username, secret::Password};

#[derive(Args, Clone)]
pub(super) struct SetupSettings {
    /// The administrator that the first start of an empty database makes
    #[arg(long, env = "GRANTD_ADMIN_USERNAME", value_name = "NAME", default_value = "admin")]
    admin_username: String,
    /// The administrator's password. Without it: SQLite: generated and printed once; Postgres: nobody is made
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD", value_name = "PASSWORD", allow_hyphen_values = true)]
    admin_password: Option<String>,
    /// A file that holds the value of `GRANTD_ADMIN_PASSWORD`
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD_FILE", value_name = "FILE", value_parser = parse::path)]
    admin_password_file: Option<PathBuf>,
    /// A set-up file (TOML), which the server applies at each start: scopes, roles, clients and users that there are to be
    #[arg(long, env = "GRANTD_APPLY", value_name = "FILE", value_parser = parse::path)]
    apply: Option<PathBuf>,
}

/// What the first start of an empty database makes, and the file that each start of a server applies.
#[derive(Clone, Debug)]
pub struct SetupConfig {
    /// The administrator's name.
    pub admin_username: Username,
    /// The administrator's password.
    pub admin_password: Option<SecretString>,
    /// Whether one is generated when none was given.
    pub generate_password: bool,
    /// A set-up file.
    pub apply: Option<PathBuf>,
}

impl SetupSettings {
    pub(super) fn check(&self, check: &mut Check, postgres: bool) -> Option<SetupConfig> {
        let admin_username = check.value("GRANTD_ADMIN_USERNAME", &self.admin_username, |text| {
            let name = text.parse::<Username>().map_err(|error| error.to_string())?;
            if text.contains('@') { Err("an address is not allowed here".to_owned()) } else { Ok(name) }
        });
        let admin_password =
            check.secret("GRANTD_ADMIN_PASSWORD", self.admin_password.as_ref(), self.admin_password_file.as_deref())?;
        if let Some(password) = &admin_password
            && let Err(error) = Password::chosen("password", password.expose_secret())
        {
            check.problem("GRANTD_ADMIN_PASSWORD", error.message);
            return None;
        }
        let apply = self.apply.clone().filter(|path| !path.as_os_str().is_empty());
        Some(SetupConfig { admin_username: admin_username?, admin_password, generate_password: !postgres, apply })
    }
}
