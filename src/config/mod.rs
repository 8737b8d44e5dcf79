//! Settings, in one file per subject. A setting's flag, environment variable, default and help are one definition: a
//! field of the subject's `…Settings`. What the user wrote ([`Settings`]) is checked as a whole and becomes what the
//! server uses ([`Config`]).

mod apply;
mod audit;
mod audited;
mod bootstrap;
mod check;
mod credentials;
mod database;
mod docs;
mod dotenv;
mod hash;
mod help;
mod http;
mod log;
mod master_key;
mod passwords;
mod proxies;
mod quota;
mod registration;
mod signing_keys;
mod telemetry;
mod throttle;
mod timeouts;
mod tls;
mod tokens;

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser};

pub(crate) use self::master_key::{only_ours, read_master_key};
use self::{
    apply::ApplySettings, audit::AuditSettings, bootstrap::BootstrapSettings, check::Check,
    credentials::CredentialSettings, database::DatabaseSettings, hash::HashSettings, http::HttpSettings,
    log::LogSettings, master_key::MasterKeySettings, passwords::PasswordSettings, proxies::ProxySettings,
    registration::RegistrationSettings, signing_keys::SigningKeySettings, telemetry::TelemetrySettings,
    throttle::ThrottleSettings, tls::TlsSettings, tokens::TokenSettings,
};
pub use self::{
    audit::AuditConfig,
    audited::Audited,
    bootstrap::BootstrapConfig,
    check::{ConfigErrors, parse},
    credentials::CredentialConfig,
    database::{DatabaseConfig, DatabaseUrl},
    docs::{in_force, settings},
    dotenv::DotEnv,
    hash::HashConfig,
    help::{settings_list, unknown_variables},
    http::HttpConfig,
    log::{LogConfig, LogFormat},
    master_key::MasterKeySource,
    passwords::PasswordConfig,
    proxies::{ProxyConfig, ProxyHeader},
    quota::Quota,
    signing_keys::{Algorithm, SigningKeyConfig},
    telemetry::TelemetryConfig,
    throttle::ThrottleConfig,
    timeouts::Timeouts,
    tls::TlsConfig,
    tokens::TokenConfig,
};

/// The settings as they were written, not yet checked. `.env.example` and `docs/settings.md` list them in this order.
#[derive(Args, Clone)]
pub struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    tls: TlsSettings,
    #[command(flatten)]
    proxies: ProxySettings,
    #[command(flatten)]
    master_key: MasterKeySettings,
    #[command(flatten)]
    bootstrap: BootstrapSettings,
    #[command(flatten)]
    apply: ApplySettings,
    #[command(flatten)]
    registration: RegistrationSettings,
    #[command(flatten)]
    credentials: CredentialSettings,
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    signing_keys: SigningKeySettings,
    #[command(flatten)]
    passwords: PasswordSettings,
    #[command(flatten)]
    hash: HashSettings,
    #[command(flatten)]
    throttle: ThrottleSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    audit: AuditSettings,
}

/// Some hold secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

/// The settings that `serve --demo` ignores, with their `…_FILE`.
pub(crate) const IGNORED_BY_DEMO: &str =
    "DATABASE_URL, GRANTD_MASTER_KEY, GRANTD_ADMIN_PASSWORD, GRANTD_APPLY, GRANTD_ISSUER, GRANTD_AUDIENCE";

/// What the server uses.
#[derive(Debug)]
pub struct Config {
    /// The database.
    pub database: DatabaseConfig,
    /// Addresses, public URL and CORS.
    pub http: HttpConfig,
    /// TLS of the server itself.
    pub tls: TlsConfig,
    /// Proxies that are trusted to report a client's address.
    pub proxies: ProxyConfig,
    /// The source of the key that seals secrets.
    pub master_key: MasterKeySource,
    /// The first administrator.
    pub bootstrap: BootstrapConfig,
    /// The set-up file.
    pub apply: Option<PathBuf>,
    /// Whether self-registration of users is enabled.
    pub registration: bool,
    /// Credentials that protected routes accept.
    pub credentials: CredentialConfig,
    /// Audience and lifetimes of tokens, and the password grant.
    pub tokens: TokenConfig,
    /// Algorithm and rotation of signing keys.
    pub signing_keys: SigningKeyConfig,
    /// Rules for new passwords.
    pub passwords: PasswordConfig,
    /// Cost and queue of password hashes.
    pub hash: HashConfig,
    /// Quotas of failures and of requests.
    pub throttle: ThrottleConfig,
    /// Where metrics and traces go.
    pub telemetry: TelemetryConfig,
    /// Filter and format of the log.
    pub log: LogConfig,
    /// The audit log.
    pub audit: AuditConfig,
}

impl Settings {
    /// Checks everything and reports all that is wrong at once.
    pub fn check(&self) -> Result<Config, ConfigErrors> {
        let mut check = Check::default();
        let config = self.sections(&mut check);
        check.finish(config)
    }

    /// Returns the settings of `serve --demo`: the database is this SQLite file, and the settings of [`IGNORED_BY_DEMO`] are
    /// removed.
    #[must_use]
    pub(crate) fn for_demo(mut self, file: &Path) -> Self {
        self.database.select_file(file);
        self.master_key = MasterKeySettings::default();
        self.bootstrap.remove_password();
        self.apply = ApplySettings::default();
        self.http.remove_issuer();
        self.tokens.remove_audience();
        self
    }

    /// Returns the settings with these addresses in the place of `GRANTD_LISTEN`.
    #[must_use]
    pub(crate) fn listening_on(mut self, addresses: &[SocketAddr]) -> Self {
        self.http.listen_on(addresses);
        self
    }

    fn sections(&self, check: &mut Check) -> Option<Config> {
        // Every section is checked before the first `?`: a wrong one must not hide what is wrong in the others.
        let database = self.database.check(check);
        let postgres = matches!(&database, Some(DatabaseConfig { url: DatabaseUrl::Postgres(_), .. }));
        let tls = self.tls.check(check);
        let proxies = self.proxies.check(check);
        let http = self.http.check(check, tls.as_ref(), proxies.as_ref());
        let master_key = self.master_key.check(check, database.as_ref());
        let bootstrap = self.bootstrap.check(check, postgres);
        let apply = self.apply.check();
        let registration = self.registration.check(check);
        let credentials = self.credentials.check(check);
        let tokens = self.tokens.check(check);
        let signing_keys = self.signing_keys.check(check);
        let passwords = self.passwords.check(check);
        let hash = self.hash.check(check);
        let throttle = self.throttle.check(check);
        let telemetry = self.telemetry.check(check);
        let log = self.log.check(check);
        let audit = self.audit.check(check);
        Some(Config {
            database: database?,
            http: http?,
            tls: tls?,
            proxies: proxies?,
            master_key: master_key?,
            bootstrap: bootstrap?,
            apply,
            registration: registration?,
            credentials: credentials?,
            tokens: tokens?,
            signing_keys: signing_keys?,
            passwords: passwords?,
            hash: hash?,
            throttle: throttle?,
            telemetry: telemetry?,
            log: log?,
            audit: audit?,
        })
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

/// Makes the settings among a command's arguments usable with each of its subcommands, and keeps them out of all help:
/// `grantd help settings` lists them.
pub(crate) fn as_global(command: clap::Command) -> clap::Command {
    command.mut_args(
        |arg| {
            if arg.get_env().is_some() { without_empty_variable(arg).global(true).hide(true) } else { arg }
        },
    )
}

/// Makes an empty variable count as not set: so compose files leave settings out.
fn without_empty_variable(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None) } else { arg }
}

impl Config {
    /// Returns the issuer: the setting, or the URL of the first address.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.http.issuer.clone().or_else(|| self.urls().next()).unwrap_or_default()
    }

    /// Returns the URLs of all addresses.
    pub(crate) fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.tls.files.is_some() { "https" } else { "http" };
        self.http.listen.iter().map(move |address| format!("{scheme}://{address}"))
    }

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
