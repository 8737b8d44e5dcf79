//! Settings. A setting's flag, environment variable, default and help are one definition: a field of one of the
//! sections. What the user wrote ([`Settings`]) is checked as a whole and becomes what the server uses ([`Config`]).

mod check;
mod database;
mod docs;
mod dotenv;
mod hash;
mod http;
mod log;
mod master_key;
mod setup;
mod tokens;

use std::{ffi::OsString, fmt};

use clap::{Args, CommandFactory, FromArgMatches, Parser};

pub(crate) use self::master_key::{only_ours, read_master_key};
use self::{
    check::Check, database::DatabaseSettings, hash::HashSettings, http::HttpSettings, log::LogSettings,
    master_key::KeySettings, setup::SetupSettings, tokens::TokenSettings,
};
pub use self::{
    check::{ConfigErrors, parse},
    database::{DatabaseConfig, DatabaseUrl},
    docs::{env_example, in_force, readme_table, unknown_variables},
    dotenv::DotEnv,
    hash::HashConfig,
    http::HttpConfig,
    log::{LogConfig, LogFormat},
    master_key::MasterKeySource,
    setup::SetupConfig,
    tokens::{Algorithm, TokenConfig},
};

/// The settings as they were written, not yet checked.
#[derive(Args, Clone)]
pub struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    keys: KeySettings,
    #[command(flatten)]
    setup: SetupSettings,
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    hash: HashSettings,
    #[command(flatten)]
    log: LogSettings,
}

/// Some hold secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

/// What the server uses.
#[derive(Debug)]
pub struct Config {
    /// Which database.
    pub database: DatabaseConfig,
    /// Where it listens, and what it tells browsers.
    pub http: HttpConfig,
    /// Where the key that seals secrets comes from.
    pub master_key: MasterKeySource,
    /// What a first start makes.
    pub setup: SetupConfig,
    /// What tokens say and how long they live.
    pub tokens: TokenConfig,
    /// What a password hash costs.
    pub hash: HashConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

impl Settings {
    /// Checks everything and reports all that is wrong at once.
    pub fn check(&self) -> Result<Config, ConfigErrors> {
        let mut check = Check::default();
        let database = self.database.check(&mut check);
        let postgres = matches!(&database, Some(DatabaseConfig { url: DatabaseUrl::Postgres(_), .. }));
        let http = self.http.check(&mut check);
        let master_key = self.keys.check(&mut check, database.as_ref());
        let setup = self.setup.check(&mut check, postgres);
        let tokens = self.tokens.check(&mut check);
        let hash = self.hash.check(&mut check);
        let log = self.log.check(&mut check);
        check.finish()?;
        match (database, http, master_key, setup, tokens, hash, log) {
            (Some(database), Some(http), Some(master_key), Some(setup), Some(tokens), Some(hash), Some(log)) => {
                Ok(Config { database, http, master_key, setup, tokens, hash, log })
            }
            _ => unreachable!("a section without a value has reported why, and that ended the check"),
        }
    }
}

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    settings: Settings,
}

/// All settings as clap's arguments.
pub(crate) fn arguments() -> clap::Command {
    Alone::command()
}

/// Makes the settings among a command's arguments usable with each of its subcommands, and keeps them out of the
/// short help.
pub(crate) fn as_global(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        if arg.get_env().is_some() {
            arg.global(true).hide_short_help(true).hide_env_values(true).help_heading("Settings")
        } else {
            arg
        }
    })
}

impl Config {
    /// Of flags (`["--listen", "127.0.0.1:0"]`), as the command line reads them: what they do not say comes from the
    /// environment.
    pub fn from_flags<I, S>(flags: I) -> Result<Self, ConfigErrors>
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        let arguments = std::iter::once(OsString::from("grantd")).chain(flags.into_iter().map(Into::into));
        let settings = Alone::command()
            .try_get_matches_from(arguments)
            .and_then(|matches| Alone::from_arg_matches(&matches))
            .map_err(|error| ConfigErrors::of("flags", error.to_string()))?
            .settings;
        settings.check()
    }
}
