//! The command line. What it does to the database goes through the same functions as a request.

mod api_key;
mod apply;
mod audit;
mod client;
mod confirm;
mod database;
mod demo;
mod doctor;
mod health;
mod keys;
mod man;
mod migrate;
mod notify;
mod output;
mod password;
mod role;
mod serve;
mod session;
mod sockets;
#[cfg(test)]
mod tests;
mod tips;
mod tls;
mod token;
mod token_cache;
mod token_client;
mod token_get;
mod user;
mod user_export;
mod user_import;

use std::{error::Error, ffi::OsString, io, path::PathBuf, process::ExitCode, str::FromStr};

use actix_web::rt::System;
use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::UnknownArgumentValueParser, error::ErrorKind, parser::ValueSource,
};
use secrecy::ExposeSecret as _;

use self::{database::Database, output::Output, sockets::Sockets};
use crate::{
    config::{self, DotEnv, Settings},
    error::{FieldError, without_os_codes},
    secret::{self, CLIENT_SECRET, MasterKey},
};

/// The settings that the help of the server shows.
const COMMON: [&str; 3] = ["database_url", "listen", "issuer"];
const AFTER_HELP: &str = "\
Examples:
  grantd                               Run the server on http://127.0.0.1:8080
  grantd --listen :9000                Run it on another port
  grantd user create maria             Create a user
  grantd config                        Print the settings in force

All settings: grantd help settings. Help for a command: grantd help COMMAND.";

/// Token server: issues short-lived signed access tokens (JWT) for users and clients
#[derive(Parser)]
#[command(name = "grantd", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = None::<&str>)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default command)
    Serve {
        /// Run with a temporary database, example users (`alice`, `admin`) and clients; loopback addresses only
        ///
        /// Prints the users, their fixed passwords, the clients and a first command. The database is removed when the server
        /// stops. Settings of your own database, such as `DATABASE_URL` and `GRANTD_MASTER_KEY`, are ignored.
        #[arg(long)]
        demo: bool,
    },
    /// Create or upgrade the database, and exit; `serve` does so at its start
    Migrate {
        /// Print the migrations that would be made, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Generate a master key
    Keygen {
        /// Generate a client secret instead
        #[arg(long)]
        client_secret: bool,
    },
    /// Apply a set-up file: create and update scopes, roles, clients and users
    ///
    /// Creates the database if it does not exist, except with `--dry-run`.
    Apply(apply::Arguments),
    /// Print the database as a set-up file, without secrets and passwords
    Export,
    /// Print the settings in force and their sources
    Config,
    /// Audit the installation: exit code 1 if something is broken or insecure
    ///
    /// Checks settings, files, the certificate, the server and the database. Changes nothing, and works beside a running
    /// server: run it with the settings and as the user of the server.
    Doctor,
    /// List all settings
    #[command(hide = true)]
    Settings,
    /// Create, list and change users
    #[command(subcommand)]
    User(user::Command),
    /// Manage roles: named sets of scopes that users have
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Manage scopes: the permissions that tokens carry
    #[command(subcommand)]
    Scope(role::ScopeCommand),
    /// Manage clients: the applications that request tokens
    #[command(subcommand)]
    Client(client::Command),
    /// Create, list and delete API keys of users
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// List and end sessions
    #[command(subcommand)]
    Session(session::Command),
    /// Rotate and retire signing keys; change the master key
    #[command(subcommand)]
    Keys(keys::Command),
    /// Search and verify the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Get and inspect access tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Create a certificate, to try out TLS
    #[command(subcommand)]
    Tls(tls::Command),
    /// Check whether the server of this machine is ready
    ///
    /// Asks the first address of `GRANTD_LISTEN` for `/readyz`, with TLS if `GRANTD_TLS_CERT` is set. The exit code is 0 if the server
    /// is ready, 1 if it is not or cannot be reached: the health check of a container, which needs no HTTP client of its own.
    Health,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a directory, one for each command
    #[command(hide = true)]
    Man {
        /// The directory; created if it does not exist
        directory: PathBuf,
    },
}

/// The default of `GRANTD_ISSUER`.
const DEFAULT_ISSUER: &str = "http://127.0.0.1:8080";

/// The result of a command. Its error is printed for a person.
type Outcome = Result<(), Box<dyn Error>>;

/// The error of a command that has printed by itself what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the command has failed")]
struct Reported;

/// Runs the command of the arguments. The exit code is 0 on success, 1 if the command was refused or failed, 2 if the
/// arguments are wrong.
#[must_use]
pub fn run() -> ExitCode {
    // Before any thread is started: it changes the environment.
    let done = DotEnv::load().map_err(Into::into).and_then(|dotenv| -> Outcome {
        let matches = parse(&std::env::args_os().collect::<Vec<_>>())?;
        let cli = Cli::from_arg_matches(&matches)?;
        act(cli, &matches, &dotenv).map_err(|error| with_usage(error, &matches))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Reported>() => ExitCode::FAILURE,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => show_usage(&usage),
            Err(error) => failure(error.as_ref()),
        },
    }
}

fn failure(error: &dyn Error) -> ExitCode {
    eprintln!("error: {}", without_os_codes(&error.to_string()));
    ExitCode::FAILURE
}

/// Prints help, the version or an error of usage. Help that cannot be written is a failure, except into a closed pipe.
fn show_usage(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && !usage.use_stderr() => failure(&error),
        _ => u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Parses the command line.
fn parse(arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments);
    matches.map_err(|error| tips::with_tip(error, &command, arguments))
}

/// Parses a value. The error leaves out the name of the field: clap names the argument.
fn value<T: FromStr<Err = FieldError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: FieldError| error.message)
}

/// All commands. Each accepts all settings; the help of the server shows the most used ones.
fn command() -> clap::Command {
    let command = config::as_global(Cli::command()).args(foreign_flags()).arg(misplaced_demo());
    let mut command = command
        .mut_subcommand("serve", |serve| serve.args(foreign_flags()).after_help("All settings: grantd help settings"))
        .mut_subcommand("settings", |settings| settings.override_help(config::settings_list()));
    command.build();
    show_common(command)
        .mut_subcommand("serve", show_common)
        .mut_subcommand("token", |token| token.mut_subcommand("explain", show_issuer))
}

/// In `token explain`, `--issuer` is more than a setting: it replaces the database.
fn show_issuer(explain: clap::Command) -> clap::Command {
    let help = "Verify the token with the keys that this issuer publishes, without a database";
    explain.mut_args(|arg| {
        if arg.get_id() == "issuer" {
            arg.hide(false).hide_env(true).help_heading(None).help(help).long_help(help)
        } else {
            arg
        }
    })
}

fn show_common(command: clap::Command) -> clap::Command {
    // Not `mut_arg`: it reorders arguments, and parsing refers to their positions.
    command.mut_args(|arg| {
        if COMMON.contains(&arg.get_id().as_str()) { arg.hide(false).help_heading("Common settings") } else { arg }
    })
}

/// Flags that other servers have, each with the flag of this one as a suggestion.
fn foreign_flags() -> [Arg; 3] {
    [
        ("port", "PORT", "use --listen :PORT"),
        ("host", "ADDRESS", "use --listen ADDRESS:PORT"),
        ("bind", "ADDRESS", "use --listen ADDRESS:PORT"),
    ]
    .map(|(name, value, tip)| {
        let parser = UnknownArgumentValueParser::suggest_arg("--listen").and_suggest(tip);
        // With a value or without.
        let arg = Arg::new(name).long(name).value_name(value).num_args(0..=1).default_missing_value("");
        arg.hide(true).value_parser(parser)
    })
}

/// `grantd --demo`, with the command that has the flag as a suggestion.
fn misplaced_demo() -> Arg {
    let parser = UnknownArgumentValueParser::suggest("use grantd serve --demo");
    Arg::new("demo").long("demo").action(ArgAction::SetTrue).hide(true).value_parser(parser)
}

/// Returns an error for wrong arguments, with the exit code 2.
fn wrong_usage(problem: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::MissingRequiredArgument, problem)
}

/// Adds the usage of the command that was called to an error of [`wrong_usage`].
fn with_usage(error: Box<dyn Error>, matches: &ArgMatches) -> Box<dyn Error> {
    let error = match error.downcast::<clap::Error>() {
        Ok(error) => error,
        Err(other) => return other,
    };
    let (mut command, mut matches) = (command(), matches);
    while let Some((name, below)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name).cloned() else { break };
        (command, matches) = (found, below);
    }
    Box::new(error.format(&mut command))
}

/// Settings whose flags read as if they belonged to the new client: `client::Command` has others for that.
fn check_flags_of_client(command: &client::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    if !matches!(command, client::Command::Create { .. }) {
        return Ok(());
    }
    for (setting, flag, instead) in
        [("audience", "--audience", "--token-audience"), ("access_token_ttl", "--access-token-ttl", "--token-ttl")]
    {
        if matches.value_source(setting) == Some(ValueSource::CommandLine) {
            return Err(wrong_usage(&format!("{flag} is a setting of the server; the client's is {instead}")));
        }
    }
    Ok(())
}

fn act(cli: Cli, matches: &ArgMatches, dotenv: &DotEnv) -> Outcome {
    if let Some(Command::Doctor) = cli.command {
        return doctor::run(&cli.settings, matches, dotenv, Output { json: cli.json });
    }
    for (name, meant) in config::unknown_variables() {
        match meant {
            Some(meant) => eprintln!("warning: unknown setting {name}: did you mean {meant}?"),
            None => eprintln!("warning: unknown setting {name}: `grantd help settings` lists all settings"),
        }
    }
    let (settings, output) = (cli.settings, Output { json: cli.json });
    let database = Database { settings: &settings, matches, dotenv };
    match cli.command.unwrap_or(Command::Serve { demo: false }) {
        Command::Serve { demo: true } => {
            demo::check_listen(matches.get_many("listen").into_iter().flatten())?;
            System::new().block_on(demo::serve(settings))
        }
        Command::Serve { demo: false } => {
            // Before the check, which derives the connections of a network from it.
            serve::raise_open_files();
            let sockets = Sockets::inherited()?;
            let settings = sockets.replace_listen(settings)?;
            System::new().block_on(serve::serve(settings.check()?, sockets))
        }
        Command::Migrate { dry_run: true } => migrate::dry_run(&settings, output),
        Command::Migrate { dry_run: false } => {
            database.create_and_run(None, async |_| output.done("The database is up to date."))
        }
        Command::Keygen { client_secret: true } => {
            output.value("client_secret", secret::generate(CLIENT_SECRET)?.expose_secret())
        }
        Command::Keygen { client_secret: false } => {
            let key = MasterKey::generate()?.to_text();
            output.value("master_key", key.expose_secret())
        }
        // Above: it reports unknown variables by itself.
        Command::Doctor => Ok(()),
        Command::Settings => output::print(config::settings_list().trim_end()),
        Command::Config => show_config(&settings, matches, dotenv, output),
        Command::Apply(arguments) => apply::run(&arguments, &database, output),
        Command::Export => database.run(async |app| apply::export(app).await),
        Command::User(command) => database.run(async |app| user::run(command, app, output).await),
        Command::Role(command) => database.run(async |app| role::run_role(command, app, output).await),
        Command::Scope(command) => database.run(async |app| role::run_scope(command, app, output).await),
        Command::Client(command) => {
            check_flags_of_client(&command, matches)?;
            database.run(async |app| client::run(command, app, output).await)
        }
        Command::ApiKey(command) => database.run(async |app| api_key::run(command, app, output).await),
        Command::Session(command) => database.run(async |app| session::run(command, app, output).await),
        Command::Keys(command) => database.run(async |app| keys::run(command, app, output).await),
        Command::Audit(command) => database.run(async |app| audit::run(command, app, output).await),
        // Clients of a running server: they open no database.
        Command::Token(token::Command::Get(arguments)) => {
            System::new().block_on(token_get::get(&arguments, &issuer(&settings, matches), output))
        }
        Command::Token(token::Command::Logout(arguments)) => {
            System::new().block_on(token_get::log_out(&arguments, &issuer(&settings, matches), output))
        }
        Command::Token(token::Command::Explain(arguments)) => match flag_of_issuer(matches) {
            Some(issuer) => System::new().block_on(token::explain_with_issuer(arguments, issuer, output)),
            None => database.run(async |app| token::explain(arguments, app, output).await),
        },
        Command::Tls(command) => tls::run(&command, output),
        Command::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "grantd", &mut script);
            output::print(String::from_utf8(script)?.trim_end())
        }
        Command::Health => {
            let config = settings.check()?;
            System::new().block_on(health::health(&config, output))
        }
        Command::Man { directory } => Ok(man::write(self::command(), &directory)?),
    }
}

/// Returns the issuer in force, or its default where other settings are wrong, such as those of a server elsewhere.
fn issuer(settings: &Settings, matches: &ArgMatches) -> String {
    let given = matches.get_one::<String>("issuer").filter(|issuer| !issuer.is_empty()).cloned();
    given.or_else(|| settings.check().ok().map(|config| config.issuer())).unwrap_or_else(|| DEFAULT_ISSUER.to_owned())
}

/// The value of `--issuer` where it stands on the command line. In the environment it is a setting of this server.
fn flag_of_issuer(matches: &ArgMatches) -> Option<&str> {
    let is_flag = matches.value_source("issuer") == Some(ValueSource::CommandLine);
    matches.get_one::<String>("issuer").filter(|_| is_flag).map(String::as_str)
}

fn show_config(settings: &Settings, matches: &ArgMatches, dotenv: &DotEnv, output: Output) -> Outcome {
    let checked = settings.check();
    let in_force = config::in_force(matches, dotenv, checked.as_ref().ok());
    let json: Vec<_> = in_force
        .iter()
        .map(|(name, value, source)| serde_json::json!({"setting": name, "value": value, "source": source}))
        .collect();
    let rows = in_force.into_iter().map(|(name, value, source)| vec![name, value, source]);
    output.table("settings", &json, &["setting", "value", "from"], rows)?;
    checked?;
    Ok(())
}
