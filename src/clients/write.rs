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

/// How much later a client's revocation is than the time at which it is written. A request reads its time before it reads the
/// client, so a token that was issued to a client which was still enabled is not younger than the commit. The margin is for
/// how long the commit takes, and for what the clocks of two servers differ. (What the client gets when it is enabled again
/// is younger: see `oauth/token.rs`.)
const MARGIN: TimeDelta = TimeDelta::seconds(5);

/// A client to create.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its name.
    pub client_id: ClientId,
    /// For people.
    pub name: ClientName,
    /// Whether it gets a secret.
    pub kind: ClientKind,
    /// The grants that it may use.
    pub grant_types: BTreeSet<GrantType>,
    /// What it may ask for.
    pub scopes: Scopes,
    /// Whom its tokens are for.
    pub audiences: Vec<Audience>,
    /// How long its access tokens live.
    pub access_token_ttl: Option<Duration>,
    /// The public keys that prove it by `private_key_jwt`.
    pub jwks: Option<Jwks>,
}

/// What is to be changed of a client; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct ClientPatch {
    /// For people.
    pub name: Option<ClientName>,
    /// The grants that it may use.
    pub grant_types: Option<BTreeSet<GrantType>>,
    /// What it may ask for.
    pub scopes: Option<Scopes>,
    /// Whom its tokens are for.
    pub audiences: Option<Vec<Audience>>,
    /// How long its access tokens live; none: as set for the server.
    pub access_token_ttl: Patch<Duration>,
    /// The public keys that prove it.
    pub jwks: Patch<Jwks>,
    /// Whether it gets nothing any more.
    pub disabled: Option<bool>,
}

impl ClientPatch {
    /// Returns a patch that disables or enables a client.
    #[must_use]
    pub fn disabled(disabled: bool) -> Self {
        Self { disabled: Some(disabled), ..Self::default() }
    }

    fn onto(&self, before: &Client) -> Client {
        let Self { name, grant_types, scopes, audiences, access_token_ttl, jwks, disabled } = self.clone();
        Client {
            name: name.unwrap_or_else(|| before.name.clone()),
            grant_types: grant_types.unwrap_or_else(|| before.grant_types.clone()),
            scopes: scopes.unwrap_or_else(|| before.scopes.clone()),
            audiences: audiences.map_or_else(|| before.audiences.clone(), |audiences| each_once(&audiences)),
            access_token_ttl: access_token_ttl.onto(before.access_token_ttl.as_ref()),
            jwks: jwks.onto(before.jwks.as_ref()),
            disabled: disabled.unwrap_or(before.disabled),
            ..before.clone()
        }
    }
}

/// Creates a client. A confidential one needs a secret.
pub async fn create(
    tx: &mut Transaction,
    new: &NewClient,
    secret: Option<&SecretString>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    check(new.kind, &new.grant_types, new.access_token_ttl, new.jwks.is_some())?;
    roles::check_known(tx, &new.scopes).await?;
    by.must_have(&new.scopes)?;
    insert(tx, new, secret, false, now).await?;
    allow_ttl(tx, new.access_token_ttl).await?;
    audit::record(tx, Event::success(Kind::ClientCreated).subject(&new.client_id), &by.origin, now).await?;
    find(tx, &new.client_id).await
}

/// Signing keys are published for as long as any token lives that they signed.
async fn allow_ttl(tx: &mut Transaction, ttl: Option<Duration>) -> Result<(), Error> {
    match ttl {
        Some(ttl) => Ok(keys::allow_ttl(tx, ttl).await?),
        None => Ok(()),
    }
}

/// Inserts a client.
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

fn words(grant_types: &BTreeSet<GrantType>) -> String {
    grant_types.iter().map(|grant| grant.as_str()).collect::<Vec<_>>().join(" ")
}

fn seconds(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}

/// Changes a client. Disabling it ends its sessions and tokens for good.
pub async fn patch(
    tx: &mut Transaction,
    id: &ClientId,
    patch: &ClientPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    // Before the client is locked: see `roles::lock`.
    if let Some(scopes) = &patch.scopes {
        roles::check_known(tx, scopes).await?;
    }
    let before = lock(tx, id).await?;
    let after = patch.onto(&before);
    check(after.kind, &after.grant_types, after.access_token_ttl, after.jwks.is_some())?;
    if patch.scopes.is_some() {
        by.must_have(&after.scopes)?;
    }
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
        seconds(before.longest_ttl.max(after.access_token_ttl))
    )?;
    if before.access_token_ttl != after.access_token_ttl {
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
    if after.disabled && !before.disabled {
        revoke(tx, &after).await?;
    }
    Ok(after)
}

/// Locks the client until the transaction ends.
async fn lock(tx: &mut Transaction, id: &ClientId) -> Result<Client, Error> {
    if conn::execute!(tx, sql::LOCK, id.as_str())? == 0 {
        return Err(not_found(id));
    }
    find(tx, id).await
}

/// Revokes all tokens of a client, and ends its sessions, when the transaction commits.
async fn revoke(tx: &mut Transaction, client: &Client) -> Result<(), StoreError> {
    let ttl = keys::longest_default_ttl(tx).await?.max(client.longest_ttl.unwrap_or_default());
    let revocation = Revocation::new(RevocationKind::Client, &client.client_id, TokensExpire::After(ttl));
    tx.revoke(Revocation { margin: MARGIN, note: Some(sql::END_SESSIONS), ..revocation });
    Ok(())
}

/// Who changes a confidential client can act as it.
fn may_change(client: &Client, by: &Authority) -> Result<(), Error> {
    match client.kind {
        ClientKind::Confidential => by.must_have(&client.scopes),
        ClientKind::Public => Ok(()),
    }
}

fn changed_fields(before: &Client, after: &Client) -> Vec<&'static str> {
    let same = [
        ("name", before.name == after.name),
        ("grant_types", before.grant_types == after.grant_types),
        ("scopes", before.scopes == after.scopes),
        ("audiences", before.audiences == after.audiences),
        ("access_token_ttl", before.access_token_ttl == after.access_token_ttl),
        ("jwks", before.jwks.as_ref().map(ToString::to_string) == after.jwks.as_ref().map(ToString::to_string)),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
}

/// Deletes a client with its sessions and tokens.
pub async fn delete(tx: &mut Transaction, id: &ClientId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let client = lock(tx, id).await?;
    if client.client_id == ClientId::default_client() {
        return Err(Error::RuleViolation("cannot delete the client default; disable it instead"));
    }
    may_change(&client, by)?;
    conn::execute!(tx, sql::DELETE, id.as_str())?;
    audit::record(tx, Event::success(Kind::ClientDeleted).subject(id), &by.origin, now).await?;
    tx.clients_changed();
    Ok(revoke(tx, &client).await?)
}

/// Replaces the secret of a confidential client. The previous one stays valid for `old_valid_for`.
pub async fn set_secret(
    tx: &mut Transaction,
    id: &ClientId,
    secret: &SecretString,
    old_valid_for: Duration,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let client = lock(tx, id).await?;
    if client.kind == ClientKind::Public {
        return Err(Error::RuleViolation("a public client has no secret; create a confidential client"));
    }
    may_change(&client, by)?;
    let hash = secret::fingerprint(secret.expose_secret()).to_vec();
    let until = now + old_valid_for.min(MAX_OVERLAP);
    conn::execute!(tx, sql::ROTATE_SECRET, id.as_str(), hash.as_slice(), until, now)?;
    tx.clients_changed();
    Ok(audit::record(tx, Event::success(Kind::ClientSecretRotated).subject(id), &by.origin, now).await?)
}

/// Adds a new scope to the clients that may ask for every one.
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

/// Notes that an assertion (RFC 7523) was used; `false`: it was used before.
pub(crate) async fn use_assertion(
    conn: &mut Conn,
    client: &ClientId,
    jti: &str,
    expires_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let hash = secret::fingerprint(jti).to_vec();
    match conn::execute!(conn, sql::USE_ASSERTION, client.as_str(), hash, expires_at) {
        Ok(_) => Ok(true),
        Err(StoreError::Constraint("client_assertions_pkey")) => Ok(false),
        Err(error) => Err(error),
    }
}
