//! `grantd apply` and `grantd export`: the database as a file.

use std::path::PathBuf;

use clap::Args;

use super::{
    Outcome,
    output::{Output, print},
};
use crate::{
    app::App,
    apply::{self, Action, ApplyError, Change, Options},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Set-up file (TOML)
    file: PathBuf,
    /// Print the changes without making them
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Delete what the file does not contain, of each kind that it has a section for
    #[arg(long)]
    prune: bool,
}

pub(super) async fn apply(arguments: &Arguments, app: &App, output: Output) -> Outcome {
    let Arguments { file, dry_run, prune } = arguments;
    let options = Options { prune: *prune, dry_run: *dry_run, ..Options::default() };
    let changes = match apply::prepare(&app.store, &app.passwords, file, options).await? {
        Some(prepared) if *dry_run => app.store.dry_run(async |tx| prepared.apply(tx, app.now()).await).await,
        Some(prepared) => app.write(async |tx| prepared.apply(tx, app.now()).await).await,
        None => Ok(Vec::new()),
    };
    let changes = changes.map_err(ApplyError::from)?;
    if changes.is_empty() && !output.json {
        return output.done("nothing to do");
    }
    let has_secrets = changes.iter().any(|change| change.client_secret.is_some());
    let head = ["action", "kind", "name", "what", "client_secret"];
    let head = if has_secrets { &head[..] } else { &head[..4] };
    output.table(&changes, head, changes.iter().map(|change| row(change, has_secrets)))
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
