//! Changes of API keys.

use chrono::{DateTime, TimeDelta, Utc};
use grantd_guard::{RevocationKind, Scopes};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    ApiKey, find, not_found,
    sql::{self, IssuedRow},
};
use crate::{
    audit::{self, Event, Kind},
    authority::Authority,
    error::Error,
    ids::{ApiKeyId, UserId},
    names::{ApiKeyName, Audience},
    roles, secret,
    store::{Conn, Revocation, StoreError, TokensExpire, Transaction, conn},
    users::{self, User},
};

/// The maximum number of live keys of a user.
const MAX_LIVE: i64 = 100;
/// `last_used_at` is written at most once in this time.
pub const USE_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// An API key to create.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The name that its owner gives it.
    pub name: ApiKeyName,
    /// Scopes that the key can use.
    pub scopes: Scopes,
    /// Audiences. Empty: the server's default audience.
    pub audiences: Vec<Audience>,
    /// When the key expires. `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates an API key for a user, and returns it with its text, which is not stored.
///
/// Owner and caller must have all of its scopes.
pub async fn create(
    tx: &mut Transaction,
    owner: UserId,
    new: &NewApiKey,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(ApiKey, SecretString), Error> {
    // Locks the scopes first (lock order), so that none of them is deleted before the commit.
    roles::check_known(tx, &new.scopes).await?;
    // Locks the owner: of two calls at the limit, one fails.
    let user = users::lock(tx, owner).await?;
    if is_own(&user, by) {
        // A token without `account` must not become a key with it.
        by.must_have_each(&new.scopes)?;
    } else {
        users::must_have(by, tx, &user.scopes).await?;
        by.must_have(&new.scopes)?;
    }
    let missing = new.scopes.difference(&user.scopes);
    if !missing.is_empty() {
        return Err(Error::MissingScopes(missing));
    }
    if conn::scalar!(tx, i64, sql::COUNT_LIVE, owner, now)? >= MAX_LIVE {
        return Err(Error::RuleViolation("the user has 100 API keys, which is the maximum; delete one first"));
    }
    let (id, secret) = (ApiKeyId::new(now), secret::generate(secret::API_KEY)?);
    conn::execute!(
        tx,
        sql::INSERT,
        id,
        owner,
        new.name.as_str(),
        secret::fingerprint(secret.expose_secret()).to_vec(),
        new.scopes.to_string(),
        Audience::join(&new.audiences),
        now,
        new.expires_at
    )?;
    let details = json!({"api_key": id, "name": new.name, "scopes": new.scopes, "expires_at": new.expires_at});
    audit::record(tx, Event::success(Kind::ApiKeyCreated).subject(&owner).details(details), &by.origin, now).await?;
    Ok((find(tx, owner, id).await?, secret))
}

/// Deletes an API key of a user, and revokes the tokens that were issued for it.
pub async fn delete(
    tx: &mut Transaction,
    owner: UserId,
    id: ApiKeyId,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let user = users::read(tx, owner).await?.ok_or_else(|| users::not_found(&owner))?;
    if !is_own(&user, by) {
        users::must_have(by, tx, &user.scopes).await?;
    }
    // Locks the row: an exchange of the key for a token comes before this, which then revokes the token, or fails.
    let deleted = conn::optional!(tx, IssuedRow, sql::DELETE, owner, id)?.ok_or_else(|| not_found(&id))?;
    tx.revoke(cached_by_guards(id, now));
    let last = deleted.access_expires_at.unwrap_or(now);
    tx.revoke(Revocation::new(RevocationKind::Session, &id, TokensExpire::At(last)));
    let event = Event::success(Kind::ApiKeyDeleted).subject(&owner).details(json!({"api_key": id}));
    Ok(audit::record(tx, event, &by.origin, now).await?)
}

/// Returns whether the caller is the owner. Of another user, it must have all scopes.
fn is_own(owner: &User, by: &Authority) -> bool {
    by.origin.actor.as_deref() == Some(&*owner.id.to_string())
}

/// Returns the revocation on which guards drop what they cache of a key, which is at most a minute old.
fn cached_by_guards(id: ApiKeyId, now: DateTime<Utc>) -> Revocation {
    Revocation::new(RevocationKind::Token, &id, TokensExpire::At(now + USE_INTERVAL))
}

/// Revokes all tokens that were issued for the keys of a user until now, and what guards cache of the keys. The keys stay.
///
/// The caller has locked the row of the user, so that no token is issued for a key before the transaction ends.
pub async fn revoke_tokens_of_user(tx: &mut Transaction, user: UserId, now: DateTime<Utc>) -> Result<(), StoreError> {
    // Those that expired before a minute ago are in no cache, and have no tokens.
    let keys = conn::all!(tx, IssuedRow, sql::LOCK_OF_USER, user, now - USE_INTERVAL)?;
    for key in &keys {
        tx.revoke(cached_by_guards(key.id, now));
    }
    if let Some(last) = keys.iter().filter_map(|key| key.access_expires_at).max().filter(|last| *last > now) {
        // Not session by session: a revoked `sid` stays revoked, and the keys must work again when the user is enabled.
        let revocation = Revocation::new(RevocationKind::User, &user, TokensExpire::At(last));
        tx.revoke(Revocation { not_before: keys.iter().filter_map(|key| key.exchanged_at).max(), ..revocation });
    }
    Ok(())
}

/// Writes the time of a use, unless the last one was less than a minute ago.
pub async fn note_use(conn: &mut Conn, id: ApiKeyId, now: DateTime<Utc>) -> Result<(), StoreError> {
    conn::execute!(conn, sql::USED, id, now, now - USE_INTERVAL).map(drop)
}

/// Records that an access token is issued for a key; `false`: the key was deleted. The caller has locked the owner.
pub async fn note_exchange(
    tx: &mut Transaction,
    id: ApiKeyId,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    Ok(conn::execute!(tx, sql::EXCHANGED, id, now, expires_at)? == 1)
}

/// Deletes the oldest `limit` keys that expired before a time, and those with the same expiry as the last. Returns their number.
pub(crate) async fn delete_expired(conn: &mut Conn, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    conn::execute!(conn, sql::DELETE_EXPIRED, before, limit)
}
