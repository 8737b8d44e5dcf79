//! Clients: the applications that request tokens. Only administrators create them; there is no dynamic registration.

mod cache;
mod jwks;
pub(crate) mod routes;
mod rules;
pub(crate) mod sql;
mod write;

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use serde::{Serialize, Serializer};

pub use self::{
    cache::Clients,
    jwks::Jwks,
    write::{ClientPatch, NewClient, create, delete, patch, set_secret},
};
pub(crate) use self::{
    jwks::ALGORITHMS,
    write::{add_scope, insert, remove_scope, use_assertion},
};
use crate::{
    error::Error,
    names::{Audience, ClientId, ClientName},
    store::{Conn, StoreError, conn},
    validation::named_enum,
};

named_enum! {
    /// An authorization grant (RFC 6749 §1.3).
    GrantType in "grant_types" {
        /// A username and password.
        Password = "password",
        /// A refresh token.
        RefreshToken = "refresh_token",
        /// Credentials of the client, for a token of its own.
        ClientCredentials = "client_credentials",
        /// An access token or API key, for a narrower access token (RFC 8693).
        TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange",
    }
}

named_enum! {
    /// Whether a client can keep a secret (RFC 6749 §2.1).
    ClientKind in "type" {
        /// Authenticates with a secret or a signed assertion.
        Confidential = "confidential",
        /// Runs where it cannot keep a secret, such as a browser or a mobile app.
        Public = "public",
    }
}

/// A client.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Client {
    /// Identifier of the client in requests and tokens.
    pub client_id: ClientId,
    /// Display name.
    #[schema(value_type = String)]
    pub name: ClientName,
    /// Whether the client can keep a secret.
    #[serde(rename = "type")]
    pub kind: ClientKind,
    /// The grants that it may use.
    pub grant_types: BTreeSet<GrantType>,
    /// Scopes that the client may request.
    #[serde(serialize_with = "crate::roles::scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// Audiences of its tokens. Empty for the server's default audience.
    #[schema(value_type = Vec<String>)]
    pub audiences: Vec<Audience>,
    /// Lifetime of its access tokens. Null for the server's setting.
    #[serde(serialize_with = "duration_text")]
    #[schema(value_type = Option<String>, example = "15m")]
    pub access_token_ttl: Option<Duration>,
    /// Public keys for client authentication with `private_key_jwt`.
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Jwks>,
    /// Whether the client may report the address of its user, in `Grantd-User-Address`.
    pub forwards_address: bool,
    /// A disabled client is issued no tokens.
    pub disabled: bool,
    /// The time of the client's last revocation: sessions that were created until then have ended.
    #[serde(skip)]
    pub(crate) sessions_ended_at: Option<DateTime<Utc>>,
    /// The longest `access_token_ttl` that the client ever had.
    #[serde(skip)]
    longest_ttl: Option<Duration>,
    /// When the client was created.
    pub created_at: DateTime<Utc>,
    /// When the client was last updated.
    pub updated_at: DateTime<Utc>,
}

impl Client {
    /// Checks that the client is not the client `default`.
    pub(crate) fn check_deletable(&self) -> Result<(), Error> {
        if self.client_id == ClientId::default_client() {
            return Err(Error::RuleViolation("cannot delete the client default; disable it instead"));
        }
        Ok(())
    }
}

/// Serializes a duration in the format of the settings (`15m`), or null.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn duration_text<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.collect_str(&humantime::format_duration(*duration)),
        None => serializer.serialize_none(),
    }
}

/// A client with the hashes of its secrets.
pub(crate) struct Credentials {
    pub(crate) client: Arc<Client>,
    /// `None` for a public client.
    pub(crate) secret_hash: Option<Vec<u8>>,
    /// The hash of the previous secret, and the end of its grace period.
    pub(crate) old_secret: Option<(Vec<u8>, DateTime<Utc>)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Parses an id. A malformed id is reported as a client that does not exist.
pub(crate) fn parse_id(id: &str) -> Result<ClientId, Error> {
    id.parse().map_err(|_| not_found(id))
}

fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "client", name: id.to_string() }
}

/// Returns the client with this id.
pub async fn find(conn: &mut Conn, id: &ClientId) -> Result<Client, Error> {
    let row = conn::optional!(conn, sql::ClientRow, sql::BY_ID, id.as_str())?;
    let credentials = row.map(Credentials::try_from).transpose()?.ok_or_else(|| not_found(id))?;
    Ok(Arc::unwrap_or_clone(credentials.client))
}

/// Returns at most `limit` clients with the hashes of their secrets, in the order of their ids, after the id `after`
/// (empty: from the first).
pub(crate) async fn list_credentials(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Credentials>, StoreError> {
    let rows = conn::all!(conn, sql::ClientRow, sql::AFTER, after, limit)?;
    rows.into_iter().map(Credentials::try_from).collect()
}

/// Returns at most `limit` clients in the order of their ids, after the id `after` (empty: from the first).
pub async fn list(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Client>, StoreError> {
    let all = list_credentials(conn, after, limit).await?;
    Ok(all.into_iter().map(|credentials| Arc::unwrap_or_clone(credentials.client)).collect())
}

/// Deletes expired assertions, and returns their number: the oldest `limit`, and those with the same expiry as the last.
pub(crate) async fn delete_expired_assertions(
    conn: &mut Conn,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, StoreError> {
    conn::execute!(conn, sql::DELETE_EXPIRED_ASSERTIONS, now, limit)
}
