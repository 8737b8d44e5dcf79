//! Changes of clients.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use grantd_guard::{RevocationKind, Scope, Scopes};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Client, ClientKind, GrantType, Jwks, find, not_found,
    rules::{MAX_OVERLAP, check},
    sql,
};
use crate::{
    audit::{self, Event, Kind},
    authority::Authority,
    error::Error,
    keys,
    names::{Audience, ClientId, ClientName},
    patch::Patch,
    roles, secret,
    store::{Conn, Revocation, StoreError, TokensExpire, Transaction, conn},
};

/// How much later than the commit a client's revocation is. A token request reads the time before it reads the client,
/// without a lock. So a token that was issued to the enabled client is not younger than the commit. The margin covers the
/// duration of the commit, and the clock skew between servers. (Tokens that the client gets after it is enabled again are
/// younger: see `oauth/token.rs`.)
const MARGIN: TimeDelta = TimeDelta::seconds(5);

/// A client to create.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// The id in tokens and requests.
    pub client_id: ClientId,
    /// The display name.
    pub name: ClientName,
    /// Whether the client is confidential, and so has a secret.
    pub kind: ClientKind,
    /// The grants that the client may use.
    pub grant_types: BTreeSet<GrantType>,
    /// The scopes that the client may request.
    pub scopes: Scopes,
    /// The audiences of its tokens.
    pub audiences: Vec<Audience>,
    /// The lifetime of its access tokens.
    pub access_token_ttl: Option<Duration>,
    /// The public keys for authentication with `private_key_jwt`.
    pub jwks: Option<Jwks>,
    /// Whether it may report the address of its user.
    pub forwards_address: bool,
}

/// A partial update of a client; `None` keeps a field.
#[derive(Clone, Debug, Default)]
pub struct ClientPatch {
    /// The display name.
    pub name: Option<ClientName>,
    /// The grants that the client may use.
    pub grant_types: Option<BTreeSet<GrantType>>,
    /// The scopes that the client may request.
    pub scopes: Option<Scopes>,
    /// The audiences of its tokens.
    pub audiences: Option<Vec<Audience>>,
    /// The lifetime of its access tokens; cleared: the server's default.
    pub access_token_ttl: Patch<Duration>,
    /// The public keys for authentication with `private_key_jwt`.
    pub jwks: Patch<Jwks>,
    /// Whether the client may report the address of its user.
    pub forwards_address: Option<bool>,
    /// Whether the client is disabled.
    pub disabled: Option<bool>,
}

impl ClientPatch {
    /// Returns a patch that disables or enables a client.
    #[must_use]
    pub fn disabled(disabled: bool) -> Self {
        Self { disabled: Some(disabled), ..Self::default() }
    }

    fn onto(&self, before: &Client) -> Client {
        let Self { name, grant_types, scopes, audiences, access_token_ttl, jwks, forwards_address, disabled } =
            self.clone();
        Client {
            name: name.unwrap_or_else(|| before.name.clone()),
            grant_types: grant_types.unwrap_or_else(|| before.grant_types.clone()),
            scopes: scopes.unwrap_or_else(|| before.scopes.clone()),
            audiences: audiences.map_or_else(|| before.audiences.clone(), |audiences| each_once(&audiences)),
            access_token_ttl: access_token_ttl.onto(before.access_token_ttl.as_ref()),
            jwks: jwks.onto(before.jwks.as_ref()),
            forwards_address: forwards_address.unwrap_or(before.forwards_address),
            disabled: disabled.unwrap_or(before.disabled),
            ..before.clone()
        }
    }
}

/// Creates a client. A confidential client needs a secret.
pub async fn create(
    tx: &mut Transaction,
    new: &NewClient,
    secret: Option<&SecretString>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    check(new.kind, &new.grant_types, new.access_token_ttl, new.jwks.is_some(), new.forwards_address)?;
    // Locks the scopes first (lock order), so that none of them is deleted before the commit.
    roles::check_known(tx, &new.scopes).await?;
    by.must_have(&new.scopes)?;
    insert(tx, new, secret, false, now).await?;
    allow_ttl(tx, new.access_token_ttl).await?;
    audit::record(tx, Event::success(Kind::ClientCreated).subject(&new.client_id), &by.origin, now).await?;
    find(tx, &new.client_id).await
}

/// Raises the lifetime that the signing keys allow, if the client has a lifetime of its own: retired keys are published
/// for as long as their tokens are valid.
async fn allow_ttl(tx: &mut Transaction, ttl: Option<Duration>) -> Result<(), Error> {
    match ttl {
        Some(ttl) => Ok(keys::allow_ttl(tx, ttl).await?),
        None => Ok(()),
    }
}

/// Inserts the row of a client.
pub(crate) async fn insert(
    conn: &mut Conn,
    new: &NewClient,
    secret: Option<&SecretString>,
    every_scope: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    conn::execute!(
        conn,
        sql::INSERT,
        new.client_id.as_str(),
        new.name.as_str(),
        secret.map(|secret| secret::fingerprint(secret.expose_secret()).to_vec()),
        words(&new.grant_types),
        new.scopes.to_string(),
        Audience::join(&each_once(&new.audiences)),
        every_scope,
        seconds(new.access_token_ttl),
        new.jwks.as_ref().map(ToString::to_string),
        new.forwards_address,
        false,
        now
    )
    .map_err(|error| match error {
        StoreError::Constraint("clients_pkey") => Error::Taken { field: "client_id" },
        other => Error::Store(other),
    })?;
    Ok(())
}

/// Removes repeated audiences and keeps the order.
fn each_once(audiences: &[Audience]) -> Vec<Audience> {
    let mut seen = BTreeSet::new();
    audiences.iter().filter(|audience| seen.insert(*audience)).cloned().collect()
}

/// Returns the grant types as they are stored, space-delimited.
fn words(grant_types: &BTreeSet<GrantType>) -> String {
    grant_types.iter().map(|grant| grant.as_str()).collect::<Vec<_>>().join(" ")
}

fn seconds(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}

/// Updates a client. Disabling it ends its sessions and revokes its tokens permanently.
pub async fn patch(
    tx: &mut Transaction,
    id: &ClientId,
    patch: &ClientPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    // Lock order: scopes before the row of the client (see `roles::lock`).
    if let Some(scopes) = &patch.scopes {
        roles::check_known(tx, scopes).await?;
    }
    let before = lock(tx, id).await?;
    let after = patch.onto(&before);
    check(after.kind, &after.grant_types, after.access_token_ttl, after.jwks.is_some(), after.forwards_address)?;
    if patch.scopes.is_some() {
        by.must_have(&after.scopes)?;
    }
    // Checked against the client before the change: the caller could otherwise remove the scopes that it lacks, and then
    // act as the client.
    may_change(&before, by)?;
    let changed = changed_fields(&before, &after);
    if changed.is_empty() && before.disabled == after.disabled {
        return Ok(before);
    }
    conn::execute!(
        tx,
        sql::UPDATE,
        id.as_str(),
        after.name.as_str(),
        words(&after.grant_types),
        after.scopes.to_string(),
        Audience::join(&after.audiences),
        seconds(after.access_token_ttl),
        after.jwks.as_ref().map(ToString::to_string),
        now,
        before.scopes == after.scopes,
        seconds(before.longest_ttl.max(after.access_token_ttl)),
        after.forwards_address
    )?;
    if before.access_token_ttl != after.access_token_ttl {
        // After the row of the client in the lock order. A token with the new lifetime cannot be issued before the
        // commit.
        allow_ttl(tx, after.access_token_ttl).await?;
    }
    if !changed.is_empty() {
        let event = Event::success(Kind::ClientChanged).subject(id).details(serde_json::json!({"changed": changed}));
        audit::record(tx, event, &by.origin, now).await?;
    }
    if before.disabled != after.disabled {
        conn::execute!(tx, sql::SET_DISABLED, id.as_str(), after.disabled, now)?;
        let kind = if after.disabled { Kind::ClientDisabled } else { Kind::ClientEnabled };
        audit::record(tx, Event::success(kind).subject(id), &by.origin, now).await?;
    }
    tx.clients_changed();
    let after = find(tx, id).await?;
    // Only on the transition: a repeated request must not move `sessions_ended_at`, and there is nothing new to revoke.
    if after.disabled && !before.disabled {
        revoke(tx, &after).await?;
    }
    Ok(after)
}

/// Locks the row of the client until the transaction ends, and returns the client.
async fn lock(tx: &mut Transaction, id: &ClientId) -> Result<Client, Error> {
    if conn::execute!(tx, sql::LOCK, id.as_str())? == 0 {
        return Err(not_found(id));
    }
    find(tx, id).await
}

/// Revokes all tokens of a client and ends its sessions, at the commit.
async fn revoke(tx: &mut Transaction, client: &Client) -> Result<(), StoreError> {
    // The revocation must be kept for as long as any token of the client may be valid: with its present lifetime, an
    // earlier one, or the default of any server.
    let ttl = keys::longest_default_ttl(tx).await?.max(client.longest_ttl.unwrap_or_default());
    let revocation = Revocation::new(RevocationKind::Client, &client.client_id, TokensExpire::After(ttl));
    tx.revoke(Revocation { margin: MARGIN, note: Some(sql::END_SESSIONS), ..revocation });
    Ok(())
}

/// Checks that the caller has all scopes of a confidential client: changing its credentials allows to act as the client.
fn may_change(client: &Client, by: &Authority) -> Result<(), Error> {
    match client.kind {
        ClientKind::Confidential => by.must_have(&client.scopes),
        ClientKind::Public => Ok(()),
    }
}

/// Returns the names of the fields that differ, for the audit log.
fn changed_fields(before: &Client, after: &Client) -> Vec<&'static str> {
    let same = [
        ("name", before.name == after.name),
        ("grant_types", before.grant_types == after.grant_types),
        ("scopes", before.scopes == after.scopes),
        ("audiences", before.audiences == after.audiences),
        ("access_token_ttl", before.access_token_ttl == after.access_token_ttl),
        ("jwks", before.jwks.as_ref().map(ToString::to_string) == after.jwks.as_ref().map(ToString::to_string)),
        ("forwards_address", before.forwards_address == after.forwards_address),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
}

/// Deletes a client and its sessions, and revokes its tokens.
pub async fn delete(tx: &mut Transaction, id: &ClientId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let client = lock(tx, id).await?;
    client.check_deletable()?;
    may_change(&client, by)?;
    // Deletes the sessions, too (foreign key). Access tokens stay valid without their rows, hence the revocation below.
    conn::execute!(tx, sql::DELETE, id.as_str())?;
    audit::record(tx, Event::success(Kind::ClientDeleted).subject(id), &by.origin, now).await?;
    tx.clients_changed();
    Ok(revoke(tx, &client).await?)
}

/// Replaces the secret of a confidential client. The previous one stays valid for `old_valid_for`. Returns until when.
pub async fn set_secret(
    tx: &mut Transaction,
    id: &ClientId,
    secret: &SecretString,
    old_valid_for: Duration,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let client = lock(tx, id).await?;
    if client.kind == ClientKind::Public {
        return Err(Error::RuleViolation("a public client has no secret; create a confidential client"));
    }
    may_change(&client, by)?;
    let hash = secret::fingerprint(secret.expose_secret()).to_vec();
    let until = now + old_valid_for.min(MAX_OVERLAP);
    // The previous secret stays valid for the grace period, in which all instances of the application get the new one.
    conn::execute!(tx, sql::ROTATE_SECRET, id.as_str(), hash.as_slice(), until, now)?;
    tx.clients_changed();
    audit::record(tx, Event::success(Kind::ClientSecretRotated).subject(id), &by.origin, now).await?;
    Ok(until)
}

/// Adds a new scope to the clients that may request every scope.
pub(crate) async fn add_scope(tx: &mut Transaction, scope: &Scope, now: DateTime<Utc>) -> Result<(), StoreError> {
    conn::execute!(tx, sql::ADD_SCOPE, scope.as_str(), now, true)?;
    tx.clients_changed();
    Ok(())
}

/// Removes a scope from all clients.
pub(crate) async fn remove_scope(tx: &mut Transaction, scope: &Scope, now: DateTime<Utc>) -> Result<(), StoreError> {
    conn::execute!(tx, sql::REMOVE_SCOPE, scope.as_str(), now)?;
    tx.clients_changed();
    Ok(())
}

/// Records the use of an assertion (RFC 7523); `false`: a replay, since it was used before.
pub(crate) async fn use_assertion(
    conn: &mut Conn,
    client: &ClientId,
    jti: &str,
    expires_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let hash = secret::fingerprint(jti).to_vec();
    // The primary key detects the replay, also if two servers get the same assertion at once.
    match conn::execute!(conn, sql::USE_ASSERTION, client.as_str(), hash, expires_at) {
        Ok(_) => Ok(true),
        Err(StoreError::Constraint("client_assertions_pkey")) => Ok(false),
        Err(error) => Err(error),
    }
}
