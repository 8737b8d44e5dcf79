//! What changes clients.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use grantd_guard::{RevocationKind, Scope, Scopes};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Client, ClientId, ClientKind, GrantType, Jwks, known, not_found, read_client,
    rules::{LONGEST_OVERLAP, check},
    sql,
};
use crate::{
    app::App,
    audit::{self, Event},
    authority::Authority,
    changes,
    error::Error,
    keys,
    patch::Patch,
    revocations, roles,
    secret::{self, CLIENT_SECRET},
    store::{Conn, StoreError, run},
};

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

/// What is to be changed of a client; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct ClientPatch {
    /// For people.
    pub name: Option<String>,
    /// The grants that it may use.
    pub grant_types: Option<BTreeSet<GrantType>>,
    /// What it may ask for.
    pub scopes: Option<Scopes>,
    /// Whom its tokens are for.
    pub audiences: Option<Vec<String>>,
    /// How long its access tokens live; none: as set for the server.
    pub access_token_ttl: Patch<Duration>,
    /// The public keys that prove it.
    pub jwks: Patch<Jwks>,
    /// Whether it gets nothing any more.
    pub disabled: Option<bool>,
}

impl ClientPatch {
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

impl NewClient {
    fn check(&self) -> Result<(), Error> {
        check(&self.name, self.kind, &self.grant_types, &self.audiences, self.access_token_ttl, self.jwks.is_some())
    }
}

/// Makes a client; a confidential one gets the secret that is returned, and that nothing shows again.
pub async fn create(
    app: &App,
    new: &NewClient,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(Client, Option<SecretString>), Error> {
    let secret = match new.kind {
        ClientKind::Confidential => Some(secret::generate(CLIENT_SECRET)?),
        ClientKind::Public => None,
    };
    // As a change that others wait for: a scope that is being deleted is gone from the new client too, or known no more.
    let client = changes::make(app, async |conn| create_in(conn, new, secret.as_ref(), by, now).await).await?;
    Ok((client, secret))
}

/// The same in a transaction that is under way. A confidential client needs a secret.
pub(crate) async fn create_in(
    conn: &mut Conn,
    new: &NewClient,
    secret: Option<&SecretString>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    new.check()?;
    roles::check_known(conn, &new.scopes).await?;
    by.must_have(&new.scopes)?;
    allow(conn, new.access_token_ttl).await?;
    insert(conn, new, secret, false, now).await?;
    audit::record(conn, Event::success("client.created").subject(&new.client_id), &by.origin, now).await?;
    read_client(conn, new.client_id.as_str()).await
}

/// A key that is being made meanwhile knows of this lifetime, or is known here.
async fn allow(conn: &mut Conn, ttl: Option<Duration>) -> Result<(), Error> {
    let Some(ttl) = ttl else { return Ok(()) };
    changes::of_keys(conn).await?;
    Ok(keys::allow_ttl(conn, ttl).await?)
}

/// Makes a client in a transaction that is under way.
pub(crate) async fn insert(
    conn: &mut Conn,
    new: &NewClient,
    secret: Option<&SecretString>,
    every_scope: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    run::execute!(
        conn,
        sql::INSERT,
        new.client_id.as_str(),
        new.name.as_str(),
        secret.map(|secret| secret::fingerprint(secret.expose_secret()).to_vec()),
        words(&new.grant_types),
        new.scopes.to_string(),
        each_once(&new.audiences).join(" "),
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

/// Without repeats, in their order.
fn each_once(audiences: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    audiences.iter().filter(|audience| seen.insert(*audience)).cloned().collect()
}

fn words(grant_types: &BTreeSet<GrantType>) -> String {
    grant_types.iter().map(|grant| grant.as_str()).collect::<Vec<_>>().join(" ")
}

fn seconds(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}

/// Changes a client. Disabling it ends its sessions and its tokens for good.
pub async fn patch(
    app: &App,
    id: &str,
    patch: &ClientPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    let id = known(id)?;
    changes::make(app, async |conn| patch_in(conn, id.as_str(), patch, by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn patch_in(
    conn: &mut Conn,
    id: &str,
    patch: &ClientPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Client, Error> {
    let before = held(conn, id).await?;
    let after = patch.onto(&before);
    check(&after.name, after.kind, &after.grant_types, &after.audiences, after.access_token_ttl, after.jwks.is_some())?;
    if patch.scopes.is_some() {
        roles::check_known(conn, &after.scopes).await?;
        by.must_have(&after.scopes)?;
    }
    may_change(&before, by)?;
    let changed = changed_fields(&before, &after);
    if changed.is_empty() && before.disabled == after.disabled {
        return Ok(before);
    }
    allow(conn, after.access_token_ttl.filter(|_| before.access_token_ttl != after.access_token_ttl)).await?;
    run::execute!(
        conn,
        sql::UPDATE,
        id,
        after.name.as_str(),
        words(&after.grant_types),
        after.scopes.to_string(),
        after.audiences.join(" "),
        seconds(after.access_token_ttl),
        after.jwks.as_ref().map(ToString::to_string),
        now,
        before.scopes == after.scopes
    )?;
    if !changed.is_empty() {
        let event = Event::success("client.changed").subject(&id).details(serde_json::json!({"changed": changed}));
        audit::record(conn, event, &by.origin, now).await?;
    }
    if before.disabled != after.disabled {
        run::execute!(conn, sql::SET_DISABLED, id, after.disabled, now)?;
        let kind = if after.disabled { "client.disabled" } else { "client.enabled" };
        audit::record(conn, Event::success(kind).subject(&id), &by.origin, now).await?;
    }
    changes::of_clients(conn).await?;
    if after.disabled && !before.disabled {
        revocations::record(conn, RevocationKind::Client, &[id.to_owned()], now).await?;
    }
    read_client(conn, id).await
}

/// The client as it stays until the transaction is over, but for what it does itself.
async fn held(conn: &mut Conn, id: &str) -> Result<Client, Error> {
    if run::execute!(conn, sql::HOLD, id)? == 0 {
        return Err(not_found(id));
    }
    read_client(conn, id).await
}

/// Whoever changes a confidential client can act as it.
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

/// Deletes a client, and with it its sessions and tokens.
pub async fn delete(app: &App, id: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let id = known(id)?;
    changes::make(app, async |conn| delete_in(conn, id.as_str(), by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn delete_in(conn: &mut Conn, id: &str, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let client = held(conn, id).await?;
    if client.client_id == ClientId::default_client() {
        return Err(Error::Forbidden("the client default is not deleted; it can be disabled"));
    }
    may_change(&client, by)?;
    run::execute!(conn, sql::DELETE, id)?;
    audit::record(conn, Event::success("client.deleted").subject(&id), &by.origin, now).await?;
    changes::of_clients(conn).await?;
    revocations::record(conn, RevocationKind::Client, &[id.to_owned()], now).await
}

/// Gives a confidential client a new secret, which is returned and which nothing shows again. The one before lives on for as
/// long as is said.
pub async fn rotate_secret(
    app: &App,
    id: &str,
    old_valid_for: Duration,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<SecretString, Error> {
    let (id, secret) = (known(id)?, secret::generate(CLIENT_SECRET)?);
    changes::make(app, async |conn| set_secret_in(conn, id.as_str(), &secret, old_valid_for, by, now).await).await?;
    Ok(secret)
}

/// The same in a transaction that is under way, with a secret that is there.
pub(crate) async fn set_secret_in(
    conn: &mut Conn,
    id: &str,
    secret: &SecretString,
    old_valid_for: Duration,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let client = held(conn, id).await?;
    if client.kind == ClientKind::Public {
        return Err(Error::Forbidden("a public client has no secret"));
    }
    may_change(&client, by)?;
    let hash = secret::fingerprint(secret.expose_secret()).to_vec();
    let until = now + old_valid_for.min(LONGEST_OVERLAP);
    run::execute!(conn, sql::ROTATE_SECRET, id, hash.as_slice(), until, now)?;
    changes::of_clients(conn).await?;
    Ok(audit::record(conn, Event::success("client.secret_rotated").subject(&id), &by.origin, now).await?)
}

/// Gives a new scope to the clients that may ask for every one.
pub(crate) async fn give_scope(conn: &mut Conn, scope: &Scope, now: DateTime<Utc>) -> Result<(), StoreError> {
    run::execute!(conn, sql::GIVE_SCOPE, scope.as_str(), now, true)?;
    changes::of_clients(conn).await
}

/// Takes a scope from all clients.
pub(crate) async fn take_scope(conn: &mut Conn, scope: &Scope, now: DateTime<Utc>) -> Result<(), StoreError> {
    run::execute!(conn, sql::TAKE_SCOPE, scope.as_str(), now)?;
    changes::of_clients(conn).await
}
