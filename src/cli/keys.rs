//! `grantd keys`: the signing keys, and the master key.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    Outcome,
    confirm::Confirmation,
    output::{self, Output},
};
use crate::{
    app::App,
    audit::Origin,
    config::{self, Algorithm, parse},
    keys::{self, KeyState, SigningKey},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the signing keys: next, active, and retired until their last token has expired
    List,
    /// Rotate the signing key: publish a new key, which starts to sign when caches have expired
    Rotate {
        #[arg(
            long,
            help = "Algorithm of the new key: ES256, RS256 or EdDSA [default: GRANTD_SIGNING_ALGORITHM]",
            value_parser = parse::algorithm
        )]
        algorithm: Option<Algorithm>,
        /// Sign with the new key at once: services reject its tokens until they fetch the public keys again
        #[arg(long)]
        immediately: bool,
    },
    /// Retire a compromised signing key, and invalidate all access tokens signed with it
    Retire {
        /// Id of the key, from `grantd keys list`
        #[arg(allow_hyphen_values = true)]
        kid: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Encrypt all secrets in the database with a new master key, which every server needs from then on
    Rewrap {
        /// File with the new master key; `grantd keygen` generates one
        #[arg(long, value_name = "FILE")]
        new_master_key_file: PathBuf,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (origin, now) = (Origin::system(), app.now());
    match command {
        Command::List => {
            let all = keys::list(&mut app.store.read().await?, now).await?;
            output.table(
                "signing keys",
                &all,
                &["kid", "algorithm", "state", "signs from", "published until"],
                all.iter().map(row),
            )
        }
        Command::Rotate { algorithm, immediately } => {
            let new = app.keys.generate(algorithm).await?;
            let rotate = app.write(async |tx| app.keys.rotate(tx, &new, immediately, &origin, now).await);
            output.object(&rotate.await?)
        }
        Command::Retire { kid, confirmation } => retire(app, &kid, &confirmation, output).await,
        Command::Rewrap { new_master_key_file: file } => {
            let problem = |problem: String| format!("--new-master-key-file: {}: {problem}", file.display());
            let new = config::read_master_key(&file).map_err(problem)?;
            app.write(async |tx| app.keys.rewrap(tx, &new, now).await).await?;
            if output.json {
                return output.done("rewrapped");
            }
            output::print(
                "All secrets are sealed under the new master key. Replace the old one with it now (GRANTD_MASTER_KEY, or \
                 master.key beside the database), and restart all running servers.",
            )
        }
    }
}

async fn retire(app: &App, kid: &str, confirmation: &Confirmation, output: Output) -> Outcome {
    let keys = keys::list(&mut app.store.read().await?, app.now()).await?;
    // A key that is not listed signed no live token, or does not exist: nothing to ask.
    if let Some(key) = keys.iter().find(|key| key.kid == kid) {
        confirmation.ask(&match key.state {
            KeyState::Active => format!(
                "This retires {kid}, which is the active signing key: a new key signs from now on, and every access token \
                 signed with {kid} is invalid at once."
            ),
            KeyState::Next => format!("This retires {kid}, the next signing key, which has signed no tokens yet."),
            KeyState::Retired => format!("This invalidates every access token signed with {kid}, a retired signing key."),
        })?;
    }
    let new = app.keys.generate(None).await?;
    app.write(async |tx| app.keys.retire(tx, kid, &new, &Origin::system(), app.now()).await).await?;
    output.done(&format!("Retired the signing key {kid}; the access tokens signed with it are invalid."))
}

fn row(key: &SigningKey) -> Vec<String> {
    vec![
        key.kid.clone(),
        key.algorithm.as_str().to_owned(),
        key.state.as_str().to_owned(),
        output::time(key.not_before),
        key.expires_at.map(output::time).unwrap_or_default(),
    ]
}
