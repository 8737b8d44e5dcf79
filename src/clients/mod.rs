//! Clients: the applications that ask for tokens. Only an administrator makes them (RFC 9700 §2.4).

mod cache;
mod change;
mod jwks;
mod name;
pub(crate) mod routes;
mod rules;
mod sql;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::{Serialize, Serializer};

pub(crate) use self::change::{create_in, delete_in, give_scope, insert, patch_in, set_secret_in, take_scope};
pub(crate) use self::jwks::ALGORITHMS;
pub use self::{
    cache::Cache,
    change::{ClientPatch, NewClient, create, delete, patch, rotate_secret},
    jwks::Jwks,
    name::ClientId,
};
use crate::{
    app::App,
    error::{Code, Error, FieldError},
    store::{
        Conn, Store, StoreError,
        batch::{Answers, Batch},
        run,
    },
};

/// How a client gets tokens (RFC 6749 §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// A user's name and password.
    Password,
    /// A refresh token.
    RefreshToken,
    /// Its own credentials, for itself.
    ClientCredentials,
}

impl GrantType {
    const ALL: [Self; 3] = [Self::Password, Self::RefreshToken, Self::ClientCredentials];

    /// As in `grant_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

impl ClientKind {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        }
    }
}

impl FromStr for ClientKind {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let found = [Self::Confidential, Self::Public].into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| FieldError::new("type", Code::Unknown, "must be confidential or public"))
    }
}

impl FromStr for GrantType {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let message = "must be password, refresh_token or client_credentials";
        let found = Self::ALL.into_iter().find(|grant| grant.as_str() == text);
        found.ok_or_else(|| FieldError::new("grant_types", Code::Unknown, message))
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a client can keep a secret (RFC 6749 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// It has a secret and proves it.
    Confidential,
    /// It runs where others can look into it.
    Public,
}

/// A client.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Client {
    /// Its name in tokens and requests.
    pub client_id: ClientId,
    /// For people.
    pub name: String,
    /// Whether it has a secret.
    #[serde(rename = "type")]
    pub kind: ClientKind,
    /// The grants that it may use.
    pub grant_types: BTreeSet<GrantType>,
    /// What it may ask for.
    #[serde(serialize_with = "crate::users::scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// Whom its tokens are for; none: the server's default audience.
    pub audiences: Vec<String>,
    /// How long its access tokens live; `None`: as set for the server.
    #[serde(serialize_with = "duration_text")]
    #[schema(value_type = Option<String>, example = "15m")]
    pub access_token_ttl: Option<Duration>,
    /// The public keys that prove it by `private_key_jwt`.
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Jwks>,
    /// A disabled client gets nothing.
    pub disabled: bool,
    /// When it was last disabled: sessions that began before have ended.
    #[serde(skip)]
    pub(crate) sessions_ended_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// As settings have it (`15m`), or null.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn duration_text<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.collect_str(&humantime::format_duration(*duration)),
        None => serializer.serialize_none(),
    }
}

/// A client, and what its secret is checked against; none for a public one.
pub(crate) struct Credentials {
    pub(crate) client: Arc<Client>,
    pub(crate) secret_hash: Option<Vec<u8>>,
    /// The secret before, and until when it lives on.
    pub(crate) old_secret: Option<(Vec<u8>, DateTime<Utc>)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client", &self.client).finish_non_exhaustive()
    }
}

/// What is no id names no client.
fn known(id: &str) -> Result<ClientId, Error> {
    id.parse().map_err(|_| not_found(id))
}

fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "client", name: id.to_string() }
}

async fn read(conn: &mut Conn, id: &str) -> Result<Option<Credentials>, StoreError> {
    run::optional!(conn, sql::ClientRow, sql::BY_ID, id)?.map(Credentials::try_from).transpose()
}

async fn read_client(conn: &mut Conn, id: &str) -> Result<Client, Error> {
    Ok(Arc::unwrap_or_clone(read(conn, id).await?.ok_or_else(|| not_found(id))?.client))
}

/// A client and what proves that somebody is it, as the database has it now: for whoever is given a token.
pub(crate) async fn credentials_now(app: &App, id: &str) -> Result<Option<Arc<Credentials>>, StoreError> {
    app.client_reader.ask(id.to_owned()).await
}

/// Reads a client for all who ask for the same at the same time.
pub(crate) struct ById;

impl Batch for ById {
    type Asked = String;
    type Key = String;
    type Answer = Option<Arc<Credentials>>;
    const MOST: usize = 1;
    const AT_ONCE: [usize; 2] = [4, 4];

    fn key(asked: &String) -> String {
        asked.clone()
    }

    async fn run(store: &Store, asked: Vec<String>) -> Result<Answers<Self>, StoreError> {
        let mut conn = store.read().await?;
        let mut found = Answers::<Self>::new();
        for id in asked {
            let credentials = read(&mut conn, &id).await?.map(Arc::new);
            found.insert(id, Ok(credentials));
        }
        Ok(found)
    }
}

/// A client and what proves that somebody is it, as it was when this server last heard of a change: a moment ago. For who only
/// looks at tokens.
pub(crate) async fn credentials(app: &App, id: &str) -> Result<Option<Arc<Credentials>>, StoreError> {
    Ok(credentials_as_of(app, id).await?.map(|(credentials, _)| credentials))
}

/// As [`credentials`], with the number of changes of clients that this is as of: it is true as long as there was no other.
pub(crate) async fn credentials_as_of(app: &App, id: &str) -> Result<Option<(Arc<Credentials>, i64)>, StoreError> {
    let (known, as_of) = app.clients.get(id);
    if let Some(known) = known {
        return Ok(Some((known, as_of)));
    }
    let found = read(&mut app.store.read().await?, id).await?.map(Arc::new);
    if let Some(found) = &found {
        app.clients.keep(found, as_of);
    }
    Ok(found.map(|found| (found, as_of)))
}

/// One client.
pub async fn find(app: &App, id: &str) -> Result<Client, Error> {
    read_client(&mut app.store.read().await?, known(id)?.as_str()).await
}

/// Clients in the order of their ids, after one of them (the empty text: from the first): at most `limit`.
pub async fn list(app: &App, after: &str, limit: i64) -> Result<Vec<Client>, Error> {
    let all = credentials_after(&mut app.store.read().await?, after, limit).await?;
    Ok(all.into_iter().map(|credentials| Arc::unwrap_or_clone(credentials.client)).collect())
}

/// The same with what proves each, as a transaction that is under way sees it.
pub(crate) async fn credentials_after(
    conn: &mut Conn,
    after: &str,
    limit: i64,
) -> Result<Vec<Credentials>, StoreError> {
    let rows = run::all!(conn, sql::ClientRow, sql::AFTER, after, limit)?;
    rows.into_iter().map(Credentials::try_from).collect()
}
