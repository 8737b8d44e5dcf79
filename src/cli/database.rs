//! Opens the database for a command.

use std::error::Error;

use actix_web::rt::System;
use clap::ArgMatches;

use super::{Outcome, serve};
use crate::{
    app::{App, StartError},
    apply::DesiredState,
    clock::Clock,
    config::{self, DatabaseUrl, DotEnv, Settings},
};

/// The database of the settings. Commands use it as the server does, whether a server is running or not.
pub(super) struct Database<'a> {
    pub(super) settings: &'a Settings,
    pub(super) matches: &'a ArgMatches,
    pub(super) dotenv: &'a DotEnv,
}

impl Database<'_> {
    /// Runs a command on an existing database. Where there is none, creates nothing and says which was looked for.
    pub(super) fn run(&self, work: impl AsyncFnOnce(&App) -> Outcome) -> Outcome {
        let config = self.settings.check()?;
        let url = config.database.url.clone();
        System::new().block_on(async {
            let app = App::open(config, Clock::system()).await;
            run_and_close(&app.map_err(|error| self.explain(error, &url))?, work).await
        })
    }

    /// Runs a command on the database, which is created if it does not exist. `desired`: the set-up file that the command
    /// applies.
    pub(super) fn create_and_run(
        &self,
        desired: Option<&DesiredState>,
        work: impl AsyncFnOnce(&App) -> Outcome,
    ) -> Outcome {
        let config = self.settings.check()?;
        System::new().block_on(async {
            let (app, first) = App::start(config, desired, Clock::system()).await?;
            if let Some(first) = first {
                let created = serve::created_text(&first, &app.config.database.url);
                eprintln!("{created}\nStart the server: grantd");
            }
            run_and_close(&app, work).await
        })
    }

    fn explain(&self, error: StartError, url: &DatabaseUrl) -> Box<dyn Error> {
        match error {
            StartError::NoDatabase => format!(
                "there is no grantd database at {url} ({}). Run the command in the server's directory, set DATABASE_URL, or \
                 create the database by starting `grantd serve` once",
                self.source()
            )
            .into(),
            other => other.into(),
        }
    }

    /// Returns where the location of the database came from.
    fn source(&self) -> String {
        let settings = config::in_force(self.matches, self.dotenv, None);
        let is_set = |name: &str| settings.iter().any(|(setting, value, _)| setting == name && !value.is_empty());
        let name = if is_set("DATABASE_URL_FILE") { "DATABASE_URL_FILE" } else { "DATABASE_URL" };
        let source = settings.iter().find(|(setting, ..)| setting == name).map_or("default", |(.., source)| source);
        match source {
            "flag" => format!("from --{}", name.to_lowercase().replace('_', "-")),
            "environment" => format!("from {name} in the environment"),
            ".env" => format!("from {name} in .env"),
            _ => format!("the default of {name}"),
        }
    }
}

async fn run_and_close(app: &App, work: impl AsyncFnOnce(&App) -> Outcome) -> Outcome {
    let done = work(app).await;
    app.store.close().await;
    done
}
