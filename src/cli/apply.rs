//! `grantd apply` and `grantd export`: the database as a file.

use std::path::PathBuf;

use clap::Args;

use super::{
    Outcome,
    database::Database,
    output::{Output, print},
};
use crate::{
    app::App,
    apply::{self, Action, Change, DesiredState, Options},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Set-up file (TOML)
    file: PathBuf,
    /// Print the changes without making them
    #[arg(long)]
    dry_run: bool,
    /// Delete what the file does not contain, of each kind that it has a section for
    #[arg(long)]
    prune: bool,
}

pub(super) fn run(arguments: &Arguments, database: &Database, output: Output) -> Outcome {
    let Arguments { file, dry_run, prune } = arguments;
    let options = Options { prune: *prune, dry_run: *dry_run, ..Options::default() };
    // Read once: the file may be a pipe.
    let desired = &DesiredState::read(file, options)?;
    if *dry_run {
        return database.run(async |app| plan(desired, app, output).await);
    }
    database.create_and_run(Some(desired), async |app| apply(desired, app, output).await)
}

async fn apply(desired: &DesiredState, app: &App, output: Output) -> Outcome {
    let Some(prepared) = apply::prepare(&app.store, &app.passwords, desired).await? else { return show(&[], output) };
    let done = app.write(async |tx| prepared.apply(tx, app.now()).await).await;
    show(&done.map_err(|error| prepared.explain(error))?, output)
}

/// Prints the changes that the file would make, also where secrets or passwords are missing.
async fn plan(desired: &DesiredState, app: &App, output: Output) -> Outcome {
    let Some(prepared) = apply::prepare(&app.store, &app.passwords, desired).await? else { return show(&[], output) };
    let would = app.store.dry_run(async |tx| prepared.apply(tx, app.now()).await).await;
    show(&would.map_err(|error| prepared.explain(error))?, output)?;
    Ok(prepared.check_secrets()?)
}

fn show(changes: &[Change], output: Output) -> Outcome {
    if changes.is_empty() && !output.json {
        return output.done("nothing to do");
    }
    let has_secrets = changes.iter().any(|change| change.client_secret.is_some());
    let head = ["action", "kind", "name", "what", "client_secret"];
    let head = if has_secrets { &head[..] } else { &head[..4] };
    output.table("changes", changes, head, changes.iter().map(|change| row(change, has_secrets)))
}

fn row(change: &Change, has_secrets: bool) -> Vec<String> {
    let action = match change.action {
        Action::Create => "create",
        Action::Change => "change",
        Action::Delete => "delete",
    };
    let row = [action, change.kind, &change.name, &change.fields.join(" ")].map(str::to_owned);
    let secret = has_secrets.then(|| change.client_secret.clone().unwrap_or_default());
    row.into_iter().chain(secret).collect()
}

pub(super) async fn export(app: &App) -> Outcome {
    print(apply::export(&app.store).await?.trim_end())
}
