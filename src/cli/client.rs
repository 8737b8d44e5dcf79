//! `grantd client`: the applications that request tokens.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use grantd_guard::Scope;
use secrecy::ExposeSecret;

use super::{
    Outcome,
    confirm::{Confirmation, count, ends},
    output::{self, Output},
    value, wrong_usage,
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
    sessions,
    store::{
        Conn, StoreError, Transaction,
        pages::{PAGE, every},
    },
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a client, and print its secret if it is confidential
    Create {
        /// Id of the client: a-z, 0-9 and -
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
        /// Name to show [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// `confidential` for clients that can keep a secret, else `public`
        #[arg(long = "type", value_name = "TYPE", value_parser = value::<ClientKind>)]
        kind: ClientKind,
        /// Allowed grant: `password`, `refresh_token` or `client_credentials`; may be repeated
        #[arg(long = "grant", value_name = "GRANT", value_parser = value::<GrantType>, required = true)]
        grants: Vec<GrantType>,
        /// Allowed scope; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// Audience of its tokens; may be repeated [default: the server's audience]
        #[arg(long = "token-audience", value_name = "URI")]
        audiences: Vec<String>,
        /// Lifetime of its access tokens [default: the server's setting]
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        token_ttl: Option<Duration>,
        /// File with the JWK set of its public keys, for `private_key_jwt`
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
        /// Accept the address of the user from this client, in the header `Grantd-User-Address`
        #[arg(long)]
        forwards_address: bool,
    },
    /// Rotate a client's secret, and print the new one
    Secret {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
        /// How long the previous secret stays valid [default: 0s]
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        old_valid_for: Option<Duration>,
    },
    /// List all clients
    List,
    /// Show a client
    Show {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
    },
    /// Disable a client and revoke its tokens
    Disable {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
    },
    /// Enable a disabled client
    Enable {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
    },
    /// Change a client
    Change {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
        /// New name to show
        #[arg(long)]
        name: Option<String>,
        /// Allowed grant; may be repeated. Replaces the current grants
        #[arg(long = "grant", value_name = "GRANT", value_parser = value::<GrantType>)]
        grants: Vec<GrantType>,
        /// Allowed scope; may be repeated. Replaces the current scopes
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// Audience of its tokens; may be repeated. Replaces the current audiences
        #[arg(long = "token-audience", value_name = "URI")]
        audiences: Vec<String>,
        /// New lifetime of its access tokens
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        token_ttl: Option<Duration>,
        /// File with the JWK set of its public keys, for `private_key_jwt`
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
        /// Whether to accept the address of the user from this client, in the header `Grantd-User-Address`
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        forwards_address: Option<bool>,
    },
    /// Delete a client, end its sessions and revoke its tokens
    Delete {
        /// Id of the client
        #[arg(value_parser = value::<ClientId>)]
        client_id: ClientId,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (by, now) = (Authority::system(), app.now());
    match command {
        Command::Create { client_id, name, kind, grants, scopes, audiences, token_ttl, jwks, forwards_address } => {
            let new = NewClient {
                name: name.as_deref().unwrap_or(client_id.as_str()).parse()?,
                client_id,
                kind,
                grant_types: grants.into_iter().collect(),
                scopes: scopes.into_iter().collect(),
                audiences: parse_audiences(&audiences)?,
                access_token_ttl: token_ttl,
                jwks: jwks.as_deref().map(read_jwks).transpose()?,
                forwards_address,
            };
            let secret = match new.kind {
                ClientKind::Confidential => Some(secret::generate(CLIENT_SECRET)?),
                ClientKind::Public => None,
            };
            let client = app.write(async |tx| clients::create(tx, &new, secret.as_ref(), &by, now).await).await?;
            if client.scopes.is_empty() {
                eprintln!(
                    "warning: the client {} has no scopes, so its tokens have none; add them with --scope",
                    client.client_id
                );
            }
            created(&client, secret.as_ref().map(ExposeSecret::expose_secret), output)
        }
        Command::Secret { client_id, old_valid_for } => {
            rotate_secret(app, &client_id, old_valid_for.unwrap_or_default(), output).await
        }
        Command::List => {
            let all = all_clients(&mut app.store.read().await?).await?;
            let rows = all.iter().map(row);
            output.table("clients", &all, &["client_id", "type", "grants", "scopes", "audiences", ""], rows)
        }
        Command::Show { client_id } => output.object(&clients::find(&mut app.store.read().await?, &client_id).await?),
        Command::Disable { client_id } => change(app, &client_id, &ClientPatch::disabled(true), output).await,
        Command::Enable { client_id } => change(app, &client_id, &ClientPatch::disabled(false), output).await,
        Command::Change { client_id, name, grants, scopes, audiences, token_ttl, jwks, forwards_address } => {
            let lists = [grants.is_empty(), scopes.is_empty(), audiences.is_empty()];
            let values = [name.is_none(), token_ttl.is_none(), jwks.is_none(), forwards_address.is_none()];
            if lists == [true; 3] && values == [true; 4] {
                let flags = "--name, --grant, --scope, --token-audience, --token-ttl, --jwks or --forwards-address";
                return Err(wrong_usage(&format!("nothing to change; give {flags}")).into());
            }
            let patch = ClientPatch {
                name: name.as_deref().map(str::parse).transpose()?,
                grant_types: (!grants.is_empty()).then(|| grants.into_iter().collect()),
                scopes: (!scopes.is_empty()).then(|| scopes.into_iter().collect()),
                audiences: (!audiences.is_empty()).then(|| parse_audiences(&audiences)).transpose()?,
                access_token_ttl: token_ttl.map_or(Patch::Keep, Patch::Set),
                jwks: jwks.as_deref().map(read_jwks).transpose()?.map_or(Patch::Keep, Patch::Set),
                forwards_address,
                disabled: None,
            };
            change(app, &client_id, &patch, output).await
        }
        Command::Delete { client_id, confirmation } => delete(app, &client_id, &confirmation, output).await,
    }
}

pub(super) async fn all_clients(conn: &mut Conn) -> Result<Vec<Client>, StoreError> {
    let list = async |after: Option<String>| clients::list(conn, &after.unwrap_or_default(), PAGE).await;
    every(list, |client| client.client_id.to_string()).await
}

async fn rotate_secret(app: &App, id: &ClientId, old_valid_for: Duration, output: Output) -> Outcome {
    let (by, now, secret) = (Authority::system(), app.now(), secret::generate(CLIENT_SECRET)?);
    let until = app.write(async |tx| clients::set_secret(tx, id, &secret, old_valid_for, &by, now).await).await?;
    output.object(&serde_json::json!({"client_secret": secret.expose_secret()}))?;
    if output.json {
        return Ok(());
    }
    let previous = if until > now {
        format!("The previous secret works until {}.", output::time(until))
    } else {
        "The previous secret no longer works; --old-valid-for would keep it valid for a while.".to_owned()
    };
    output::print(&format!("\nThe secret is not shown again. {previous}"))
}

async fn delete(app: &App, id: &ClientId, confirmation: &Confirmation, output: Output) -> Outcome {
    let by = Authority::system();
    let sessions = {
        let conn = &mut app.store.read().await?;
        clients::find(conn, id).await?.check_deletable()?;
        sessions::count_of_client(conn, id, app.now()).await?
    };
    confirmation.ask(&format!("This deletes the client {id}{} and revokes all its tokens.", ends(sessions)))?;
    let delete = async |tx: &mut Transaction| {
        // Counted again: the question may have been on the screen for a while.
        let sessions = sessions::count_of_client(tx, id, app.now()).await?;
        clients::delete(tx, id, &by, app.now()).await.map(|()| sessions)
    };
    let ended = app.write(delete).await?;
    output.done(&format!("Deleted the client {id}; {} ended.", count(ended, "session")))
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
