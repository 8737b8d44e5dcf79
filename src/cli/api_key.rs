//! `grantd api-key`: the API keys of users.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use grantd_guard::{Scope, Scopes};
use secrecy::ExposeSecret as _;

use super::{
    Outcome,
    confirm::Confirmation,
    output::{self, Output},
};
use crate::{
    api_keys::{self, NewApiKey},
    app::App,
    authority::Authority,
    config::parse,
    error::{Code, FieldError},
    ids::ApiKeyId,
    names::{ApiKeyName, Audience},
    store::pages::{PAGE, every},
    users,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an API key for a user, and print it
    Create {
        /// Owner: username, email address or id
        user: String,
        /// Name of the key, such as the script that uses it
        name: String,
        /// Scope of the key; may be repeated. The owner must have it
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// Service that accepts the key; may be repeated. By default the server's own audience
        #[arg(long = "key-audience", value_name = "URI")]
        audiences: Vec<String>,
        /// Lifetime of the key, such as 90d. By default it never expires
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        expires_in: Option<Duration>,
    },
    /// List the API keys of a user
    List {
        /// Owner: username, email address or id
        user: String,
    },
    /// Delete an API key, and revoke the access tokens that were issued for it
    Delete {
        /// Owner: username, email address or id
        user: String,
        /// Id of the key, from `grantd api-key list`
        id: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    match command {
        Command::Create { user, name, scopes, audiences, expires_in } => {
            let now = app.now();
            let new = NewApiKey {
                name: name.parse::<ApiKeyName>()?,
                scopes: scopes.into_iter().collect::<Scopes>(),
                audiences: api_keys::audiences(&audiences)?,
                expires_at: expires_in.map(|lifetime| expiry(lifetime, now)).transpose()?,
            };
            create(app, &user, &new, output).await
        }
        Command::List { user } => list(app, &user, output).await,
        Command::Delete { user, id, confirmation } => delete(app, &user, &id, &confirmation, output).await,
    }
}

fn expiry(lifetime: Duration, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
    let too_long = || FieldError::new("expires_at", Code::Format, "must be before the year 10000");
    let at = TimeDelta::from_std(lifetime).ok().and_then(|lifetime| now.checked_add_signed(lifetime));
    api_keys::check_expiry(at.ok_or_else(too_long)?, now)
}

async fn create(app: &App, user: &str, new: &NewApiKey, output: Output) -> Outcome {
    let owner = users::find(&mut app.store.read().await?, user).await?.id;
    let (by, now) = (Authority::system(), app.now());
    let (key, secret) = app.write(async |tx| api_keys::create(tx, owner, new, &by, now).await).await?;
    let (api_key, key) = (key.with_audience(&app.audience), secret.expose_secret().to_owned());
    output.object(&api_keys::CreatedKey { api_key, key })
}

async fn list(app: &App, user: &str, output: Output) -> Outcome {
    let conn = &mut app.store.read().await?;
    let owner = users::find(conn, user).await?.id;
    let all = every(async |last| api_keys::list(conn, owner, last, PAGE).await, |key| key.id).await?;
    let all: Vec<_> = all.into_iter().map(|key| key.with_audience(&app.audience)).collect();
    let time = |at: Option<_>| at.map(output::time).unwrap_or_default();
    let rows = all.iter().map(|key| {
        vec![
            key.id.to_string(),
            key.name.to_string(),
            key.scopes.to_string(),
            Audience::join(&key.audiences),
            output::time(key.created_at),
            time(key.expires_at),
            time(key.last_used_at),
        ]
    });
    output.table("API keys", &all, &["id", "name", "scopes", "audiences", "created", "expires", "last used"], rows)
}

async fn delete(app: &App, user: &str, id: &str, confirmation: &Confirmation, output: Output) -> Outcome {
    let user = users::find(&mut app.store.read().await?, user).await?;
    let key = match ApiKeyId::parse(id) {
        Some(id) => api_keys::find(&mut app.store.read().await?, user.id, id).await?,
        None => return Err(api_keys::not_found(id).into()),
    };
    confirmation.ask(&format!(
        "This deletes the API key {} of the user {}, and revokes the access tokens that were issued for it.",
        key.name, user.username
    ))?;
    let (by, now) = (Authority::system(), app.now());
    app.write(async |tx| api_keys::delete(tx, user.id, key.id, &by, now).await).await?;
    output.done(&format!("Deleted the API key {} of the user {}.", key.name, user.username))
}
