//! The command line. What it does to the database goes through the same functions as a request.

mod apply;
mod audit;
mod client;
mod confirm;
mod database;
mod keys;
mod output;
mod password;
mod role;
mod serve;
mod session;
mod token;
mod user;

use std::{error::Error, process::ExitCode};

use actix_web::rt::System;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind, parser::ValueSource};
use secrecy::ExposeSecret as _;

use self::{database::Database, output::Output};
use crate::{
    config::{self, DotEnv, Settings},
    secret::{self, CLIENT_SECRET, MasterKey},
};

/// A user name and a password in, a short-lived signed token out.
///
/// Without a command the server is started. Settings come from flags, the environment and a file .env; `grantd config`
/// shows them, and `grantd help` followed by a command shows all flags.
#[derive(Parser)]
#[command(name = "grantd", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (also what no command does)
    Serve,
    /// Bring the database up to date and end (the server does so at its start)
    Migrate,
    /// Print a new master key
    Keygen {
        /// Print a secret for a client instead
        #[arg(long)]
        client_secret: bool,
    },
    /// Make scopes, roles, clients and users as a file says
    Apply(apply::Arguments),
    /// Print the database as a file for `apply`, without secrets and passwords
    Export,
    /// Show the settings in force, and where each came from
    Config,
    /// Users: those who log in
    #[command(subcommand)]
    User(user::Command),
    /// Roles: lists of scopes that users have
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Scopes: what tokens can be good for
    #[command(subcommand)]
    Scope(role::ScopeCommand),
    /// Clients: the applications that ask for tokens
    #[command(subcommand)]
    Client(client::Command),
    /// Sessions: where users are logged in
    #[command(subcommand)]
    Session(session::Command),
    /// Signing keys, and what is sealed under the master key
    #[command(subcommand)]
    Keys(keys::Command),
    /// The audit log: what happened
    #[command(subcommand)]
    Audit(audit::Command),
    /// Access tokens: what they say
    #[command(subcommand)]
    Token(token::Command),
    /// Print a script that completes commands in a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What a command comes to. Its error is for a person.
type Outcome = Result<(), Box<dyn Error>>;

/// Runs the command that the arguments name. The exit code is 0 when it was done, 1 when it was refused or failed, 2 when
/// the arguments are wrong.
#[must_use]
pub fn run() -> ExitCode {
    // Before any thread is there: it changes the environment.
    let done = DotEnv::load().map_err(Into::into).and_then(|dotenv| {
        let matches = command().get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        act(cli, &matches, &dotenv)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// All commands, with the settings among the arguments of each. Only the server's help lists them.
fn command() -> clap::Command {
    let mut command = config::as_global(Cli::command());
    command.build();
    command.mut_subcommands(|sub| if sub.get_name() == "serve" { sub } else { without_settings(sub) })
}

fn without_settings(command: clap::Command) -> clap::Command {
    // Not `mut_arg`: it would move the argument, and a command that is built finds arguments by their place.
    let is_explain = command.get_name() == "explain";
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(_) if is_explain && arg.get_id() == "issuer" => with_help_of_explain(arg),
        Some(_) => arg.hide(true),
        None => arg,
    });
    let command = command.mut_subcommands(without_settings);
    if command.has_subcommands() { command } else { command.after_help("Settings are those of `grantd serve --help`.") }
}

/// `--issuer` is no mere setting of `token explain`: it replaces the database.
fn with_help_of_explain(issuer: clap::Arg) -> clap::Arg {
    let help = "Verify the token with the keys that this issuer publishes, without a database";
    issuer.hide_short_help(false).hide_env(true).help_heading(None).help(help).long_help(help)
}

/// An error that ends the process with the exit code of wrong arguments.
fn wrong_usage(problem: &str) -> clap::Error {
    command().error(ErrorKind::MissingRequiredArgument, problem)
}

/// Settings whose flags read as if they were about the client that is made: `client::Command` has others for that.
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
    for name in config::unknown_variables() {
        eprintln!("warning: there is no setting {name}; `grantd config` lists those that there are");
    }
    let (settings, output) = (cli.settings, Output { json: cli.json });
    let database = Database { settings: &settings, matches, dotenv };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => System::new().block_on(serve::serve(settings.check()?)),
        Command::Migrate => database.create_and_run(async |_| output.done("The database is up to date.")),
        Command::Keygen { client_secret: true } => {
            output.value("client_secret", secret::generate(CLIENT_SECRET)?.expose_secret())
        }
        Command::Keygen { client_secret: false } => {
            let key = MasterKey::generate()?.to_text();
            output.value("master_key", key.expose_secret())
        }
        Command::Config => show_config(&settings, matches, dotenv, output),
        Command::Apply(arguments) if arguments.dry_run => {
            database.run(async |app| apply::apply(&arguments, app, output).await)
        }
        Command::Apply(arguments) => database.create_and_run(async |app| apply::apply(&arguments, app, output).await),
        Command::Export => database.run(async |app| apply::export(app).await),
        Command::User(command) => database.run(async |app| user::run(command, app, output).await),
        Command::Role(command) => database.run(async |app| role::run_role(command, app, output).await),
        Command::Scope(command) => database.run(async |app| role::run_scope(command, app, output).await),
        Command::Client(command) => {
            check_flags_of_client(&command, matches)?;
            database.run(async |app| client::run(command, app, output).await)
        }
        Command::Session(command) => database.run(async |app| session::run(command, app, output).await),
        Command::Keys(command) => database.run(async |app| keys::run(command, app, output).await),
        Command::Audit(command) => database.run(async |app| audit::run(command, app, output).await),
        Command::Token(command) => match flag_of_issuer(matches) {
            Some(issuer) => System::new().block_on(token::run_with_issuer(command, issuer, output)),
            None => database.run(async |app| token::run(command, app, output).await),
        },
        Command::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "grantd", &mut script);
            output::print(String::from_utf8(script)?.trim_end())
        }
    }
}

/// The value of `--issuer` where it stands on the command line. In the environment it is a setting of this server.
fn flag_of_issuer(matches: &ArgMatches) -> Option<&str> {
    let is_flag = matches.value_source("issuer") == Some(ValueSource::CommandLine);
    matches.get_one::<String>("issuer").filter(|_| is_flag).map(String::as_str)
}

fn show_config(settings: &Settings, matches: &ArgMatches, dotenv: &DotEnv, output: Output) -> Outcome {
    let in_force = config::in_force(matches, dotenv);
    let json: Vec<_> = in_force
        .iter()
        .map(|(name, value, source)| serde_json::json!({"setting": name, "value": value, "source": source}))
        .collect();
    let rows = in_force.into_iter().map(|(name, value, source)| vec![name, value, source.to_owned()]);
    output.table(&json, &["setting", "value", "from"], rows)?;
    settings.check()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        command().debug_assert();
    }

    #[test]
    fn settings_are_taken_before_and_after_a_command_and_listed_for_the_server_alone() {
        for arguments in
            [["grantd", "--hash-queue", "7", "user", "list"], ["grantd", "user", "list", "--hash-queue", "7"]]
        {
            let matches = command().try_get_matches_from(arguments).unwrap();
            assert_eq!(matches.get_one::<String>("hash_queue").map(String::as_str), Some("7"));
        }
        let help = |of: &str| command().try_get_matches_from(["grantd", of, "--help"]).unwrap_err().to_string();
        assert!(help("serve").contains("--hash-queue"));
        assert!(!help("migrate").contains("--hash-queue"));
    }

    #[test]
    fn a_setting_is_not_taken_for_what_is_said_of_a_client() {
        let create = ["grantd", "client", "create", "shop", "--type", "public", "--grant", "password"];
        let check = |flags: &[&'static str]| {
            let matches = command().try_get_matches_from([&create, flags].concat()).unwrap();
            let Some(Command::Client(command)) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
            check_flags_of_client(&command, &matches)
        };
        assert!(check(&["--token-audience", "a", "--token-ttl", "5m"]).is_ok());
        assert_eq!(check(&["--audience", "a"]).unwrap_err().exit_code(), 2);
        assert_eq!(check(&["--access-token-ttl", "5m"]).unwrap_err().exit_code(), 2);
    }
}
