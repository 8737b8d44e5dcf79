//! Clients: public ones with passwords, long lifetimes, and those that nobody uses.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Check::{Lifetimes, PublicClients, UnusedClients},
    Finding,
    database::settle,
    names, sql,
};
use crate::{
    clients::{self, Client, ClientKind, GrantType},
    ids::EventId,
    names::ClientId,
    store::{Store, StoreError, conn, pages::PAGE},
};

/// Sessions, and the events of logins and of tokens for clients, show whether a client is used. Younger clients may be in
/// preparation.
const UNUSED: TimeDelta = TimeDelta::days(90);
const ACCESS_TOKEN_SECONDS: u64 = 3600;
/// Each costs a statement.
const MOST: usize = 200;

pub(super) async fn check(store: &Store, now: DateTime<Utc>) -> Vec<Finding> {
    let all = match enabled(store).await {
        Ok(all) => all,
        Err(error) => return settle(PublicClients, Err::<Vec<Finding>, _>(error)),
    };
    let mut findings = vec![public(&all)];
    findings.extend(all.iter().filter_map(long_lived));
    findings.extend(settle(UnusedClients, unused(store, &all, now).await));
    findings
}

async fn enabled(store: &Store) -> Result<Vec<Client>, StoreError> {
    let mut conn = store.read().await?;
    let mut all: Vec<Client> = Vec::new();
    loop {
        let after = all.last().map(|client| client.client_id.to_string()).unwrap_or_default();
        let page = clients::list(&mut conn, &after, PAGE).await?;
        if page.is_empty() {
            all.retain(|client| !client.disabled);
            return Ok(all);
        }
        all.extend(page);
    }
}

fn is_default(client: &Client) -> bool {
    client.client_id == ClientId::default_client()
}

fn public(all: &[Client]) -> Finding {
    let has_passwords =
        |client: &&Client| client.kind == ClientKind::Public && client.grant_types.contains(&GrantType::Password);
    let (built_in, others): (Vec<_>, Vec<_>) = all.iter().filter(has_passwords).partition(|client| is_default(client));
    let advice = "If nothing uses it, run `grantd client disable default`";
    if others.is_empty() {
        return match built_in.first() {
            Some(client) => Finding::ok(PublicClients, &client.client_id, "built in; every scope").with_advice(advice),
            None => Finding::ok(PublicClients, "no client", "no public client has the grant password"),
        };
    }
    let ids: Vec<_> = others.iter().map(|client| client.client_id.to_string()).collect();
    let message = "public, with the grant password: any program can use the id to log users in";
    let remedy =
        "Where the program runs on a server, make the client confidential; else give it the scopes that it needs only";
    Finding::warning(PublicClients, names(&ids), message, remedy)
}

fn long_lived(client: &Client) -> Option<Finding> {
    let ttl = client.access_token_ttl.filter(|ttl| ttl.as_secs() > ACCESS_TOKEN_SECONDS)?;
    let message = format!(
        "its access tokens live for {}: a stolen one stays valid for services that do not follow the feed of revocations",
        humantime::format_duration(ttl)
    );
    let remedy = format!("Run `grantd client change {} --token-ttl 15m`", client.client_id);
    Some(Finding::warning(Lifetimes, format!("client {}", client.client_id), message, remedy))
}

/// Clients without a grant only introspect tokens, which leaves no trace.
async fn unused(store: &Store, all: &[Client], now: DateTime<Utc>) -> Result<Vec<Finding>, StoreError> {
    let old = all.iter().filter(|client| !client.grant_types.is_empty() && now - client.created_at > UNUSED);
    let (mut conn, mut found) = (store.read().await?, Vec::new());
    for client in old.take(MOST) {
        let id = client.client_id.as_str();
        if conn::optional!(conn, sql::Session, sql::CLIENT_HAS_SESSION, id)?.is_none() {
            found.push(id.to_owned());
        }
    }
    if !found.is_empty() {
        let with_logins = conn::all!(conn, sql::Name, sql::CLIENTS_WITH_LOGINS, EventId::first_of(now - UNUSED))?;
        found.retain(|id| with_logins.iter().all(|(client,)| client != id));
    }
    if found.is_empty() {
        return Ok(vec![Finding::ok(UnusedClients, "enabled clients", "each is used, or is younger than 90 days")]);
    }
    let message = "no session, and no token issued for 90 days: nobody would notice that somebody else uses them";
    let remedy = "Run `grantd client disable ID` for those that are not needed";
    Ok(vec![Finding::warning(UnusedClients, names(&found), message, remedy)])
}
