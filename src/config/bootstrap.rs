//! The first administrator, created at the first start of an empty database.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::check::{Check, parse};
use crate::{names::Username, secret::Password};

#[derive(Args, Clone)]
#[command(next_help_heading = "Users and set-up")]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct BootstrapSettings {
    /// Username of the first administrator
    ///
    /// The first start of an empty database creates the account.
    #[arg(long, env = "GRANTD_ADMIN_USERNAME", value_name = "NAME", default_value = "admin")]
    admin_username: String,
    /// Password of the first administrator; ignored once the database has users
    ///
    /// When not set, SQLite: generated and printed once; Postgres: no administrator is created.
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD", value_name = "PASSWORD", allow_hyphen_values = true)]
    admin_password: Option<String>,
    /// File that holds `GRANTD_ADMIN_PASSWORD`
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD_FILE", value_name = "FILE", value_parser = parse::path)]
    admin_password_file: Option<PathBuf>,
}

/// The first administrator.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// The user name.
    pub admin_username: Username,
    /// The password.
    pub admin_password: Option<SecretString>,
    /// Whether one is generated when none is set.
    pub generate_password: bool,
}

impl BootstrapConfig {
    /// Returns the name of the administrator that a first start creates. `None`: it creates none.
    #[must_use]
    pub fn administrator(&self) -> Option<&Username> {
        (self.admin_password.is_some() || self.generate_password).then_some(&self.admin_username)
    }
}

impl BootstrapSettings {
    /// Removes the password: none is given.
    pub(super) fn remove_password(&mut self) {
        self.admin_password = None;
        self.admin_password_file = None;
    }

    pub(super) fn check(&self, check: &mut Check, postgres: bool) -> Option<BootstrapConfig> {
        let admin_username = check.value("GRANTD_ADMIN_USERNAME", &self.admin_username, |text| {
            let name = text.parse::<Username>().map_err(|error| error.to_string())?;
            if text.contains('@') { Err("an address is not allowed here".to_owned()) } else { Ok(name) }
        });
        let admin_password =
            check.secret("GRANTD_ADMIN_PASSWORD", self.admin_password.as_ref(), self.admin_password_file.as_deref())?;
        // The rules for new passwords are those of the first start: this setting is not read at later ones.
        if let Some(password) = &admin_password
            && let Err(error) = Password::presented("password", password.expose_secret())
        {
            check.problem("GRANTD_ADMIN_PASSWORD", error.message);
            return None;
        }
        Some(BootstrapConfig { admin_username: admin_username?, admin_password, generate_password: !postgres })
    }
}
