//! `grantd apply` and `grantd export`

use std::path::PathBuf;

use clap::Args;

use super::{
    Outcome,
    output::{Output, print},
};
use crate::{
    app::App,
    setup::{self, Action, Change, Options},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// The file (TOML)
    file: PathBuf,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what the file does not name; of a kind that it has no section of, nothing
    #[arg(long)]
    prune: bool,
}

pub(super) async fn apply(arguments: &Arguments, app: &App, output: Output) -> Outcome {
    let Arguments { file, dry_run, prune } = arguments;
    let applied = setup::apply(app, file, Options { prune: *prune, dry_run: *dry_run }).await?;
    if applied.changes.is_empty() && !output.json {
        return output.done("nothing to do");
    }
    let has_secrets = applied.changes.iter().any(|change| change.client_secret.is_some());
    let head = ["action", "kind", "name", "what", "client_secret"];
    let head = if has_secrets { &head[..] } else { &head[..4] };
    output.table(&applied.changes, head, applied.changes.iter().map(|change| row(change, has_secrets)))
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
    print(setup::export(app).await?.trim_end())
}
