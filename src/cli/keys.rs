//! `grantd keys …`

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    Outcome,
    output::{self, Output},
};
use crate::{
    app::App,
    audit::Origin,
    config::{self, Algorithm, parse},
    keys::{self, SigningKey},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the signing keys whose tokens may live
    List,
    /// Publish the key that signs next; it does so when every service can know it
    Rotate {
        #[arg(
            long,
            help = "What it signs with: ES256, RS256 or EdDSA; when absent, as set for the server",
            value_parser = parse::algorithm
        )]
        algorithm: Option<Algorithm>,
        /// Let it sign at once: services that keep the public keys refuse its tokens until they ask again
        #[arg(long)]
        immediately: bool,
    },
    /// Retire a compromised key at once, and invalidate all its tokens
    Retire {
        /// Which
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Seal everything in the database under another master key, which all servers need from then on
    Rewrap {
        /// The file with the new master key, as `grantd keygen` prints one
        #[arg(long, value_name = "FILE")]
        new_master_key_file: PathBuf,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (origin, now) = (Origin::system(), app.now());
    match command {
        Command::List => {
            let all = keys::list(&mut app.store.read().await?, now).await?;
            output.table(&all, &["kid", "algorithm", "state", "signs from", "published until"], all.iter().map(row))
        }
        Command::Rotate { algorithm, immediately } => {
            let new = app.keys.generate(algorithm).await?;
            let rotate = app.write(async |tx| app.keys.rotate(tx, &new, immediately, &origin, now).await);
            output.object(&rotate.await?)
        }
        Command::Retire { kid } => {
            let new = app.keys.generate(None).await?;
            app.write(async |tx| app.keys.retire(tx, &kid, &new, &origin, now).await).await?;
            output.done("The key is gone, and its tokens are good for nothing.")
        }
        Command::Rewrap { new_master_key_file: file } => {
            let problem = |problem: String| format!("--new-master-key-file: {}: {problem}", file.display());
            let new = config::read_master_key(&file).map_err(problem)?;
            app.write(async |tx| app.keys.rewrap(tx, &new, now).await).await?;
            if output.json {
                return output.done("rewrapped");
            }
            output::print(
                "Everything is sealed under the new master key. Put it in the place of the old one (GRANTD_MASTER_KEY, or \
                 master.key beside the database) before a server is started, and start those again that run.",
            )
        }
    }
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
