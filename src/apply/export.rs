//! Exports the database as a set-up file.

use std::sync::Arc;

use super::{
    diff::{clients_there, roles_there, scopes_there},
    file::{ClientEntry, RoleEntry, ScopeEntry, SetupFile, UserEntry},
};
use crate::{
    clients::{Client, Jwks},
    error::Error,
    names::RoleName,
    roles::Role,
    store::{Conn, Store, pages::PAGE},
    users::{self, User},
};

const HEAD: &str = "\
# A set-up file of grantd: `grantd apply FILE` creates and updates what it contains; `--prune` deletes the rest.
#
# Secrets and passwords are not exported. To keep the secret of a client in another database, add a line such as
#   secret_env = \"SHOP_SECRET\"       (or secret_file)
# Without it, a new client gets a new secret. A new user needs a line such as
#   password_env = \"MARIAS_PASSWORD\" (or password_file)
# The built-in scopes and the role admin are not exported: every database has them.

";

/// Returns the text of a set-up file for the present state, without secrets and passwords.
pub async fn export(store: &Store) -> Result<String, Error> {
    let mut conn = store.read().await?;
    let scopes = scopes_there(&mut conn).await?.into_iter().filter(|scope| !scope.built_in);
    let roles = roles_there(&mut conn).await?.into_iter().filter(|role| role.name != RoleName::admin());
    let clients = clients_there(&mut conn).await?.into_iter().map(|one| Arc::unwrap_or_clone(one.client));
    let file = SetupFile {
        scopes: Some(
            scopes.map(|scope| ScopeEntry { name: scope.name, description: Some(scope.description) }).collect(),
        ),
        roles: Some(roles.map(role_entry).collect()),
        clients: Some(clients.map(client_entry).collect()),
        users: Some(user_entries(&mut conn).await?),
    };
    let text = file.to_text().map_err(|error| Error::Internal(format!("a set-up file cannot be written: {error}")))?;
    Ok(format!("{HEAD}{text}"))
}

fn role_entry(role: Role) -> RoleEntry {
    RoleEntry { name: role.name, description: Some(role.description), scopes: role.scopes }
}

fn client_entry(client: Client) -> ClientEntry {
    ClientEntry {
        client_id: client.client_id,
        name: client.name,
        kind: client.kind,
        grant_types: client.grant_types,
        scopes: client.scopes,
        audiences: client.audiences,
        access_token_ttl: client.access_token_ttl,
        forwards_address: client.forwards_address,
        disabled: client.disabled.then_some(true),
        secret_env: None,
        secret_file: None,
        jwks_file: None,
        jwks: client.jwks.as_ref().map(Jwks::shown).cloned(),
    }
}

async fn user_entries(conn: &mut Conn) -> Result<Vec<UserEntry>, Error> {
    let (mut entries, mut last) = (Vec::new(), None);
    loop {
        let page = users::list_by_id(conn, last, PAGE).await?;
        let Some(end) = page.last() else { return Ok(entries) };
        last = Some(end.id);
        entries.extend(page.into_iter().map(user_entry));
    }
}

/// Returns the entry of a user, without the role `member`, which every user has.
fn user_entry(user: User) -> UserEntry {
    let mut roles = user.roles;
    roles.retain(|role| *role != RoleName::member());
    UserEntry {
        username: user.username,
        email: user.email,
        display_name: user.display_name,
        roles,
        disabled: user.disabled.then_some(true),
        password_env: None,
        password_file: None,
    }
}
