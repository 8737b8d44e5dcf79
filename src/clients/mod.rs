//! Clients: the applications that ask for tokens. Only an administrator makes them (RFC 9700 §2.4).

mod cache;
mod jwks;
mod name;
mod sql;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use grantd_guard::{RevocationKind, Scope, Scopes};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

pub(crate) use self::jwks::ALGORITHMS;
pub use self::{cache::Cache, jwks::Jwks, name::ClientId};
use crate::{
    app::App,
    audit::{self, Event, Origin},
    changes,
    error::{Code, Error, FieldError},
    keys, revocations, roles,
    secret::{self, CLIENT_SECRET},
    store::{
        Conn, Store, StoreError,
        batch::{Answers, Batch},
        run,
    },
};

/// How a client gets tokens (RFC 6749 §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// It has a secret and proves it.
    Confidential,
    /// It runs where others can look into it.
    Public,
}

/// What an access token's lifetime may be: with more, a key that was retired would have to be published for ever.
const LIFETIMES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(365 * 24);

/// A client.
#[derive(Clone, Debug, Serialize)]
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
    pub scopes: Scopes,
    /// Whom its tokens are for; none: the server's default audience.
    pub audiences: Vec<String>,
    /// How long its access tokens live; `None`: as set for the server.
    #[serde(serialize_with = "duration_text")]
    pub access_token_ttl: Option<Duration>,
    /// The public keys that prove it by `private_key_jwt`.
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
fn duration_text<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
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

/// A client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its name.
    pub client_id: ClientId,
    /// For people.
    pub name: String,
    /// Whether it gets a secret.
    pub kind: ClientKind,
    /// The grants that it may use.
    pub grant_types: BTreeSet<GrantType>,
    /// What it may ask for.
    pub scopes: Scopes,
    /// Whom its tokens are for.
    pub audiences: Vec<String>,
    /// How long its access tokens live.
    pub access_token_ttl: Option<Duration>,
    /// The public keys that prove it by `private_key_jwt`.
    pub jwks: Option<Jwks>,
}

impl NewClient {
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        if self.name.contains('\0') {
            errors.push(FieldError::new("name", Code::Format, "must not have U+0000"));
        } else if !(1..=200).contains(&self.name.chars().count()) {
            errors.push(FieldError::new("name", Code::Length, "must have 1 to 200 characters"));
        }
        if self.grant_types.is_empty() {
            errors.push(FieldError::new("grant_types", Code::Required, "at least one grant is needed"));
        }
        if self.kind == ClientKind::Public && self.grant_types.contains(&GrantType::ClientCredentials) {
            let message = "a public client has no credentials of its own";
            errors.push(FieldError::new("grant_types", Code::Format, message));
        }
        if self.kind == ClientKind::Public && self.jwks.is_some() {
            errors.push(FieldError::new("jwks", Code::Format, "a public client has no keys of its own"));
        }
        if self.access_token_ttl.is_some_and(|ttl| !LIFETIMES.contains(&ttl)) {
            errors.push(FieldError::new("access_token_ttl", Code::Length, "must be from 1 second to 1 year"));
        }
        errors.extend(self.audiences.iter().find_map(|audience| check_audience(audience).err()));
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// A URI or a name: printable ASCII without space, quote and backslash, so that a list of them is space-delimited.
fn check_audience(audience: &str) -> Result<(), FieldError> {
    if audience.is_empty() || audience.len() > 500 {
        return Err(FieldError::new("audiences", Code::Length, "an audience has 1 to 500 characters"));
    }
    if audience.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        Ok(())
    } else {
        Err(FieldError::new("audiences", Code::Format, "an audience is a URI or a name, without spaces"))
    }
}

/// Makes a client; a confidential one gets the secret that is returned, and that nothing shows again.
pub async fn create(
    app: &App,
    new: &NewClient,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(Client, Option<SecretString>), Error> {
    new.check()?;
    let secret = match new.kind {
        ClientKind::Confidential => Some(secret::generate(CLIENT_SECRET)?),
        ClientKind::Public => None,
    };
    let client = app
        .store
        .transact(async |conn| {
            roles::check_known(conn, &new.scopes).await?;
            if let Some(ttl) = new.access_token_ttl {
                // A key that is being made meanwhile knows of it, or is known here.
                changes::of_keys(conn).await?;
                keys::allow_ttl(conn, ttl).await?;
            }
            insert(conn, new, secret.as_ref(), false, now).await?;
            let event = Event::success("client.created").subject(&new.client_id);
            audit::record(conn, event, origin, now).await?;
            read_client(conn, new.client_id.as_str()).await
        })
        .await?;
    Ok((client, secret))
}

/// Makes a client in a transaction that is under way.
pub(crate) async fn insert(
    conn: &mut Conn,
    new: &NewClient,
    secret: Option<&SecretString>,
    every_scope: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let grant_types: Vec<_> = new.grant_types.iter().map(|grant| grant.as_str()).collect();
    let ttl = new.access_token_ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    run::execute!(
        conn,
        sql::INSERT,
        new.client_id.as_str(),
        new.name.as_str(),
        secret.map(|secret| secret::fingerprint(secret.expose_secret()).to_vec()),
        grant_types.join(" "),
        new.scopes.to_string(),
        new.audiences.join(" "),
        every_scope,
        ttl,
        new.jwks.as_ref().map(ToString::to_string),
        false,
        now
    )
    .map_err(|error| match error {
        StoreError::Constraint("clients_pkey") => Error::Taken { field: "client_id" },
        other => Error::Store(other),
    })?;
    Ok(())
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
    read_client(&mut app.store.read().await?, id).await
}

/// All clients, by id.
pub async fn list(app: &App) -> Result<Vec<Client>, Error> {
    let mut conn = app.store.read().await?;
    let rows = run::all!(conn, sql::ClientRow, sql::LIST)?;
    rows.into_iter().map(|row| Ok(Arc::unwrap_or_clone(Credentials::try_from(row)?.client))).collect()
}

/// Disables or enables a client. A disabled one gets nothing.
pub async fn set_disabled(
    app: &App,
    id: &ClientId,
    disabled: bool,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    let client = app
        .store
        .transact(async |conn| {
            run::execute!(conn, sql::SET_DISABLED, id.as_str(), disabled, now)?;
            let client = read_client(conn, id.as_str()).await?;
            let kind = if disabled { "client.disabled" } else { "client.enabled" };
            audit::record(conn, Event::success(kind).subject(id), origin, now).await?;
            changes::of_clients(conn).await?;
            if disabled {
                revocations::record(conn, RevocationKind::Client, &[id.to_string()], now).await?;
            }
            Ok(client)
        })
        .await?;
    changes::catch_up(app, &app.store).await?;
    Ok(client)
}

/// Gives a confidential client a new secret, which is returned and which nothing shows again. The one before lives on for as
/// long as is said.
pub async fn rotate_secret(
    app: &App,
    id: &ClientId,
    old_valid_for: Duration,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<SecretString, Error> {
    let secret = secret::generate(CLIENT_SECRET)?;
    let hash = secret::fingerprint(secret.expose_secret()).to_vec();
    app.store
        .transact(async |conn| {
            let until = now + old_valid_for.min(*LIFETIMES.end());
            if run::execute!(conn, sql::ROTATE_SECRET, id.as_str(), hash.as_slice(), until, now)? == 0 {
                read_client(conn, id.as_str()).await?;
                return Err(Error::Forbidden("a public client has no secret"));
            }
            changes::of_clients(conn).await?;
            Ok(audit::record(conn, Event::success("client.secret_rotated").subject(id), origin, now).await?)
        })
        .await?;
    changes::catch_up(app, &app.store).await?;
    Ok(secret)
}

/// Gives a new scope to the clients that may ask for every one.
pub(crate) async fn give_scope(conn: &mut Conn, scope: &Scope, now: DateTime<Utc>) -> Result<(), StoreError> {
    run::execute!(conn, sql::GIVE_SCOPE, scope.as_str(), now, true)?;
    changes::of_clients(conn).await
}
