//! The command line. What it does to the database goes through the same functions as a request.

mod client;
mod output;
mod password;
mod role;
mod serve;
mod user;

use std::{error::Error, future::Future, process::ExitCode};

use actix_web::rt::System;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use secrecy::ExposeSecret as _;

use self::output::Output;
use crate::{
    app::App,
    clock::Clock,
    config::{self, Config, DotEnv, Settings},
    secret::MasterKey,
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
    Keygen,
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
        let matches = config::as_global(Cli::command()).get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        act(cli, &matches, &dotenv)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli, matches: &ArgMatches, dotenv: &DotEnv) -> Outcome {
    for name in config::unknown_variables() {
        eprintln!("warning: there is no setting {name}; `grantd config` lists those that there are");
    }
    let (settings, output) = (cli.settings, Output { json: cli.json });
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => System::new().block_on(serve::serve(settings.check()?)),
        Command::Migrate => with_app(&settings, async |_| output.done("The database is up to date.")),
        Command::Keygen => {
            let key = MasterKey::generate()?.to_text();
            output.value("master_key", key.expose_secret())
        }
        Command::Config => show_config(&settings, matches, dotenv, output),
        Command::User(command) => with_app(&settings, async |app| user::run(command, app, output).await),
        Command::Role(command) => with_app(&settings, async |app| role::run_role(command, app, output).await),
        Command::Scope(command) => with_app(&settings, async |app| role::run_scope(command, app, output).await),
        Command::Client(command) => with_app(&settings, async |app| client::run(command, app, output).await),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "grantd", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Opens the database, as the server does at its start, for a command that works on it while the server runs or not.
fn with_app(settings: &Settings, work: impl AsyncFnOnce(&App) -> Outcome) -> Outcome {
    let config = settings.check()?;
    run_to_end(async {
        let issuer = config.http.listen.first().map(|address| format!("http://{address}")).unwrap_or_default();
        let (app, first) = open(config, issuer).await?;
        if let Some(first) = first {
            eprintln!("{}", serve::first_start_text(&first, &app.issuer));
        }
        let done = work(&app).await;
        app.store.close().await;
        done
    })
}

async fn open(config: Config, issuer: String) -> Result<(App, Option<crate::setup::FirstStart>), Box<dyn Error>> {
    Ok(App::start(config, issuer, Clock::system()).await?)
}

fn run_to_end(work: impl Future<Output = Outcome>) -> Outcome {
    System::new().block_on(work)
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
