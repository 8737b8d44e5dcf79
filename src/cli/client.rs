//! `grantd client …`

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use grantd_guard::Scope;
use secrecy::ExposeSecret;

use super::{
    Outcome,
    output::{self, Output},
};
use crate::{
    app::App,
    authority::Authority,
    clients::{self, Client, ClientKind, ClientPatch, GrantType, Jwks, NewClient},
    config::parse,
    error::FieldError,
    names::{Audience, ClientId},
    patch::Patch,
    secret::{self, CLIENT_SECRET},
    store::pages::{PAGE, every},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a client and print the secret of a confidential one, once
    Create {
        /// Its id: a-z, 0-9 and -
        client_id: ClientId,
        /// For people; when absent, the id
        #[arg(long)]
        name: Option<String>,
        /// Whether it can keep a secret: `confidential` or `public`
        #[arg(long = "type", value_name = "TYPE", value_parser = str::parse::<ClientKind>)]
        kind: ClientKind,
        /// A grant that it may use: `password`, `refresh_token`, `client_credentials`; may be repeated
        #[arg(long = "grant", value_name = "GRANT", required = true)]
        grants: Vec<GrantType>,
        /// A scope that it may ask for; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// Whom its tokens are for; may be repeated. When absent, the server's audience
        #[arg(long = "token-audience", value_name = "URI")]
        audiences: Vec<String>,
        /// How long its access tokens live; when absent, as set for the server
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        token_ttl: Option<Duration>,
        /// A file with the JWK set of the public keys that prove it by `private_key_jwt`
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
    },
    /// Give a client a new secret, which is printed, once
    Secret {
        /// Its id
        client_id: ClientId,
        /// How long the secret before lives on
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        old_valid_for: Option<Duration>,
    },
    /// List all clients
    List,
    /// Show one client
    Show {
        /// Its id
        client_id: ClientId,
    },
    /// Give a client nothing from now on
    Disable {
        /// Its id
        client_id: ClientId,
    },
    /// Let a disabled client ask again
    Enable {
        /// Its id
        client_id: ClientId,
    },
    /// Change what is known of a client, and what it may do
    Change {
        /// Its id
        client_id: ClientId,
        /// For people
        #[arg(long)]
        name: Option<String>,
        /// All grants that it may use from now on; may be repeated
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<GrantType>,
        /// All scopes that it may ask for from now on; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// All that its tokens are for from now on; may be repeated
        #[arg(long = "token-audience", value_name = "URI")]
        audiences: Vec<String>,
        /// How long its access tokens live
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        token_ttl: Option<Duration>,
        /// A file with the JWK set of the public keys that prove it by `private_key_jwt`
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
    },
    /// Delete a client, and with it its sessions and tokens
    Delete {
        /// Its id
        client_id: ClientId,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (by, now) = (Authority::system(), app.now());
    match command {
        Command::Create { client_id, name, kind, grants, scopes, audiences, token_ttl, jwks } => {
            let new = NewClient {
                name: name.as_deref().unwrap_or(client_id.as_str()).parse()?,
                client_id,
                kind,
                grant_types: grants.into_iter().collect(),
                scopes: scopes.into_iter().collect(),
                audiences: parse_audiences(&audiences)?,
                access_token_ttl: token_ttl,
                jwks: jwks.as_deref().map(read_jwks).transpose()?,
            };
            let secret = match new.kind {
                ClientKind::Confidential => Some(secret::generate(CLIENT_SECRET)?),
                ClientKind::Public => None,
            };
            let client = app.write(async |tx| clients::create(tx, &new, secret.as_ref(), &by, now).await).await?;
            created(&client, secret.as_ref().map(ExposeSecret::expose_secret), output)
        }
        Command::Secret { client_id, old_valid_for } => {
            let old_valid_for = old_valid_for.unwrap_or_default();
            let secret = secret::generate(CLIENT_SECRET)?;
            app.write(async |tx| clients::set_secret(tx, &client_id, &secret, old_valid_for, &by, now).await).await?;
            output.object(&serde_json::json!({"client_secret": secret.expose_secret()}))?;
            if output.json { Ok(()) } else { output::print("\nThe secret is not shown again.") }
        }
        Command::List => {
            let conn = &mut app.store.read().await?;
            let all = every(
                async |after: Option<String>| clients::list(conn, &after.unwrap_or_default(), PAGE).await,
                |client| client.client_id.to_string(),
            )
            .await?;
            let rows = all.iter().map(row);
            output.table(&all, &["client_id", "type", "grants", "scopes", "audiences", ""], rows)
        }
        Command::Show { client_id } => output.object(&clients::find(&mut app.store.read().await?, &client_id).await?),
        Command::Disable { client_id } => change(app, &client_id, &ClientPatch::disabled(true), output).await,
        Command::Enable { client_id } => change(app, &client_id, &ClientPatch::disabled(false), output).await,
        Command::Change { client_id, name, grants, scopes, audiences, token_ttl, jwks } => {
            let patch = ClientPatch {
                name: name.as_deref().map(str::parse).transpose()?,
                grant_types: (!grants.is_empty()).then(|| grants.into_iter().collect()),
                scopes: (!scopes.is_empty()).then(|| scopes.into_iter().collect()),
                audiences: (!audiences.is_empty()).then(|| parse_audiences(&audiences)).transpose()?,
                access_token_ttl: token_ttl.map_or(Patch::Keep, Patch::Set),
                jwks: jwks.as_deref().map(read_jwks).transpose()?.map_or(Patch::Keep, Patch::Set),
                disabled: None,
            };
            change(app, &client_id, &patch, output).await
        }
        Command::Delete { client_id } => {
            app.write(async |tx| clients::delete(tx, &client_id, &by, now).await).await?;
            output.done("The client is gone, and its sessions and tokens are good for nothing.")
        }
    }
}

async fn change(app: &App, id: &ClientId, patch: &ClientPatch, output: Output) -> Outcome {
    let (by, now) = (Authority::system(), app.now());
    output.object(&app.write(async |tx| clients::patch(tx, id, patch, &by, now).await).await?)
}

fn parse_audiences(texts: &[String]) -> Result<Vec<Audience>, FieldError> {
    texts.iter().map(|text| text.parse()).collect()
}

fn read_jwks(file: &Path) -> Result<Jwks, Box<dyn std::error::Error>> {
    let json = std::fs::read_to_string(file).map_err(|error| format!("--jwks: {}: {error}", file.display()))?;
    Ok(Jwks::parse(&json).map_err(|error| format!("--jwks: {}", error.message))?)
}

fn created(client: &Client, secret: Option<&str>, output: Output) -> Outcome {
    let mut shown = serde_json::to_value(client)?;
    if let (Some(secret), Some(members)) = (secret, shown.as_object_mut()) {
        members.insert("client_secret".to_owned(), secret.into());
    }
    output.object(&shown)?;
    if secret.is_some() && !output.json {
        output::print("\nThe secret is not shown again.")?;
    }
    Ok(())
}

fn row(client: &Client) -> Vec<String> {
    let grants: Vec<_> = client.grant_types.iter().map(|grant| grant.as_str()).collect();
    vec![
        client.client_id.to_string(),
        client.kind.as_str().to_owned(),
        grants.join(" "),
        client.scopes.to_string(),
        Audience::join(&client.audiences),
        if client.disabled { "disabled" } else { "" }.to_owned(),
    ]
}
