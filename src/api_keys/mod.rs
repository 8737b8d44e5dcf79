//! API keys: long-lived credentials of a user, for scripts. A key acts for its owner, with a part of the owner's scopes.

pub(crate) mod routes;
pub(crate) mod sql;
mod write;

use std::sync::Arc;

use chrono::{DateTime, Datelike as _, Utc};
use grantd_guard::{ApiKeyError, Scopes};
use serde::Serialize;

use self::sql::{BATCH, BY_HASH, BY_HASHES, KeyRow, OwnedKeyRow};
pub(crate) use self::write::delete_expired;
pub use self::write::{NewApiKey, USE_INTERVAL, create, delete, note_exchange, note_use, revoke_tokens_of_user};
use crate::{
    error::{Code, Error, FieldError},
    ids::{ApiKeyId, UserId},
    names::{ApiKeyName, Audience},
    secret,
    store::{
        Conn, Store, StoreError,
        batch::{Batcher, read_by_key},
        conn,
    },
    users::User,
};

/// The maximum number of audiences of a key.
const MAX_AUDIENCES: usize = 10;

/// An API key, without the secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    /// The `jti` of its introspection, and the `sid` of access tokens that are issued for it.
    pub id: ApiKeyId,
    /// Name that its owner gave it.
    #[schema(value_type = String)]
    pub name: ApiKeyName,
    /// Scopes of the key. It can use those that its owner has, too.
    #[serde(serialize_with = "crate::roles::scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Scopes,
    /// Services that accept the key.
    #[schema(value_type = Vec<String>)]
    pub audiences: Vec<Audience>,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// When the key expires. Null if it never does.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Returns the key as it is shown: with the default audience if it has none of its own.
    #[must_use]
    pub(crate) fn with_audience(mut self, default: &Audience) -> Self {
        if self.audiences.is_empty() {
            self.audiences.push(default.clone());
        }
        self
    }
}

/// A new API key, with the key itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiKeyWithSecret)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    pub(crate) api_key: ApiKey,
    /// The key. Returned only here.
    #[schema(example = "grk_…")]
    pub(crate) key: String,
}

/// An API key with its owner.
#[derive(Debug)]
pub(crate) struct OwnedKey {
    pub(crate) key: ApiKey,
    pub(crate) owner: Arc<User>,
}

impl OwnedKey {
    /// Returns the scopes that the key can use now: those that its owner still has.
    pub(crate) fn scopes(&self) -> Scopes {
        self.key.scopes.intersection(&self.owner.scopes)
    }

    /// Returns the audiences of the key. `default`: that of keys that have none of their own.
    pub(crate) fn audiences<'a>(&'a self, default: &'a Audience) -> &'a [Audience] {
        if self.key.audiences.is_empty() { std::slice::from_ref(default) } else { &self.key.audiences }
    }

    /// Returns whether the key is for one of these audiences.
    pub(crate) fn is_for<A: AsRef<str>>(&self, accepted: &[A], default: &Audience) -> bool {
        self.audiences(default).iter().any(|audience| accepted.iter().any(|one| one.as_ref() == audience.as_str()))
    }
}

/// Reads API keys, in batches. Clones share the queue.
#[derive(Clone, Debug)]
pub struct ApiKeys(Batcher<ByHash>);

impl ApiKeys {
    pub(crate) fn new(store: &Store) -> Self {
        Self(Batcher::new(store.clone()))
    }

    /// Returns the key with this text and its owner, if it may be used now.
    pub(crate) async fn verify(
        &self,
        text: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<Arc<OwnedKey>, ApiKeyError>, StoreError> {
        // A typo costs no statement.
        if !secret::is_generated(secret::API_KEY, text) {
            return Ok(Err(ApiKeyError::Malformed));
        }
        // By the hash: a lookup that takes longer for a similar key says nothing about the key itself.
        let Some(found) = self.0.ask(secret::fingerprint(text)).await? else { return Ok(Err(ApiKeyError::Inactive)) };
        Ok(if found.owner.disabled {
            Err(ApiKeyError::OwnerDisabled)
        } else if found.key.expires_at.is_some_and(|at| at <= now) {
            Err(ApiKeyError::Expired)
        } else {
            Ok(found)
        })
    }
}

// On SQLite as many statements at a time as there are read connections: more would only wait for one.
read_by_key!(
    ByHash, [u8; 32] => OwnedKey, OwnedKeyRow, BY_HASH, BY_HASHES, BATCH, [4, 2],
    |hash| hash.as_slice(), |row| row.hash.as_slice().try_into().ok()
);

pub(crate) fn not_found(id: &(impl ToString + ?Sized)) -> Error {
    Error::NotFound { what: "API key", name: id.to_string() }
}

/// Returns at most `limit` keys of a user, from the oldest on, after the id `after`.
pub async fn list(
    conn: &mut Conn,
    user: UserId,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>, StoreError> {
    let after = after.unwrap_or(ApiKeyId::from([0; 16]));
    let rows = conn::all!(conn, KeyRow, sql::OF_USER, user, after, limit)?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Returns one key of a user.
pub async fn find(conn: &mut Conn, user: UserId, id: ApiKeyId) -> Result<ApiKey, Error> {
    let row = conn::optional!(conn, KeyRow, sql::ONE_OF_USER, user, id)?;
    Ok(row.ok_or_else(|| not_found(&id))?.try_into()?)
}

/// Checks the expiry of a new key.
pub(crate) fn check_expiry(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
    let wrong = |message| Err(FieldError::new("expires_at", Code::Format, message));
    if at <= now {
        return wrong("must be in the future");
    }
    // The last year of RFC 3339, and of texts that sort by time.
    if at.year() > 9999 { wrong("must be before the year 10000") } else { Ok(at) }
}

/// Parses the audiences of a key: absolute URIs, 10 at most.
pub(crate) fn audiences(texts: &[String]) -> Result<Vec<Audience>, FieldError> {
    if texts.len() > MAX_AUDIENCES {
        return Err(FieldError::new("audiences", Code::Length, "must have at most 10 audiences"));
    }
    let parse = |text: &String| {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme || rest.is_empty() {
            let message = "must be absolute URIs, such as https://api.example.com";
            return Err(FieldError::new("audiences", Code::Format, message));
        }
        text.parse()
    };
    let mut audiences: Vec<Audience> = texts.iter().map(parse).collect::<Result<_, _>>()?;
    audiences.sort();
    audiences.dedup();
    Ok(audiences)
}
