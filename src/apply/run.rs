//! Applies a set-up file.

use std::{collections::HashMap, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use secrecy::ExposeSecret as _;

use super::{
    desired::{DesiredClient, DesiredState},
    diff::{Change, Difference, Stage, Step},
    error::ApplyError,
};
use crate::{
    authority::Authority,
    clients::{self, ClientPatch},
    error::{Code, Error},
    passwords::Passwords,
    roles,
    store::{Store, Transaction},
    users::{self, NewUser, UserPatch},
};

/// Options for applying a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Deletes objects that the file does not have.
    pub prune: bool,
    /// Changes nothing, hashes no passwords, and shows no secrets.
    pub dry_run: bool,
    /// Requires a secret in the file for new confidential clients, since a generated one could not be shown.
    pub given_secrets: bool,
}

/// A file that differs from the database, prepared for its transaction.
pub struct Prepared {
    desired: DesiredState,
    options: Options,
    new_users: NewUsers,
}

/// The new users, by the index of their entries.
type NewUsers = HashMap<usize, NewUser>;

/// Checks that a file can be read, with the secrets that it refers to. Needs no database.
pub fn check(file: &Path) -> Result<(), ApplyError> {
    DesiredState::read(file).map(drop)
}

/// Reads a file and prepares its changes. `None`: the database is in the desired state.
// Passwords are hashed here, before the transaction: it would hold its locks for that long.
pub async fn prepare(
    store: &Store,
    passwords: &Passwords,
    file: &Path,
    options: Options,
) -> Result<Option<Prepared>, ApplyError> {
    let mut desired = DesiredState::read(file)?;
    if options.prune {
        desired.check_pruned()?;
    }
    if options.given_secrets {
        for client in desired.clients.iter_mut().flatten().filter(|client| client.new.jwks.is_none()) {
            client.generated = None;
        }
    }
    let differences = differences(store, &desired, options.prune).await?;
    if differences.is_empty() {
        return Ok(None);
    }
    let new_users = new_users(passwords, &desired, &differences, options.dry_run).await?;
    Ok(Some(Prepared { desired, options, new_users }))
}

/// Returns all differences, read without locks.
async fn differences<'d>(store: &Store, desired: &'d DesiredState, prune: bool) -> Result<Vec<Difference<'d>>, Error> {
    let mut conn = store.read().await?;
    let mut differences = Vec::new();
    for stage in Stage::ALL {
        differences.extend(stage.differences(&mut conn, desired, prune).await?);
    }
    Ok(differences)
}

/// Returns the new users, with the hashes of their passwords.
async fn new_users(
    passwords: &Passwords,
    desired: &DesiredState,
    differences: &[Difference<'_>],
    dry_run: bool,
) -> Result<NewUsers, Error> {
    let (mut users, mut errors) = (Vec::new(), Vec::new());
    for difference in differences {
        let (Step::CreateUser(entry), Some(place)) = (&difference.step, difference.place) else { continue };
        match desired.password(place, entry) {
            Ok(password) => users.push((place.index, *entry, password)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    // At most as many at a time as the hash queue takes: more would be refused.
    let hashed = stream::iter(users).map(async |(index, entry, password)| {
        let password_hash = if dry_run { String::new() } else { passwords.hash(&password).await? };
        let user = NewUser {
            username: entry.username.clone(),
            email: entry.email.clone(),
            display_name: entry.display_name.clone(),
            password_hash,
            roles: entry.roles.clone(),
        };
        Ok((index, user))
    });
    hashed.buffer_unordered(passwords.concurrency()).collect::<Vec<_>>().await.into_iter().collect()
}

impl Prepared {
    /// Makes all changes, and returns them in order. The comparison is repeated in the transaction, since the database
    /// may have changed since `prepare`.
    // `&self`: the transaction may be repeated, and must find the same secrets and hashes again.
    pub async fn apply(&self, tx: &mut Transaction, now: DateTime<Utc>) -> Result<Vec<Change>, Error> {
        // Around all steps, so that the check comes last: a file may remove one administrator before it creates the next.
        roles::keep_an_administrator(tx, async |tx| {
            let mut done = Vec::new();
            // Compared stage by stage, after the changes of the earlier stages: these may resolve differences, or create
            // them.
            for stage in Stage::ALL {
                for mut difference in stage.differences(tx, &self.desired, self.options.prune).await? {
                    let taken = self.take(tx, &difference, now).await;
                    taken.map_err(|error| match difference.place {
                        Some(place) => place.blame(error),
                        None => error,
                    })?;
                    // A dry run shows no secret: the real run generates another one.
                    if let (Step::CreateClient(client), false) = (&difference.step, self.options.dry_run) {
                        let secret = client.generated.as_ref().map(|secret| secret.expose_secret().to_owned());
                        difference.change.client_secret = secret;
                    }
                    done.push(difference.change);
                }
            }
            Ok(done)
        })
        .await
    }

    /// Makes the change of a step. No permissions are checked: the author of the file has access to the database anyway.
    async fn take(&self, tx: &mut Transaction, difference: &Difference<'_>, now: DateTime<Utc>) -> Result<(), Error> {
        let (by, name) = (&Authority::system(), difference.change.name.as_str());
        match &difference.step {
            Step::PutScope(scope) => {
                roles::put_scope(tx, &scope.name, scope.description.as_ref(), by, now).await?;
            }
            Step::PutRole(role) => {
                roles::put_role(tx, &role.name, role.description.as_ref(), &role.scopes, by, now).await?;
            }
            Step::CreateClient(client) => create_client(tx, client, now).await?,
            Step::ChangeClient { id, patch, secret } => {
                // Only the secrets that differ get here: to set the same one again would end the grace period of a rotation.
                clients::patch(tx, id, patch, by, now).await?;
                if let Some(secret) = secret {
                    clients::set_secret(tx, id, secret, Duration::ZERO, by, now).await?;
                }
            }
            Step::CreateUser(entry) => {
                // Not prepared: the user existed when the file was compared, and was deleted before the transaction.
                let found = difference.place.and_then(|place| self.new_users.get(&place.index));
                let deleted = "was deleted in the meantime; apply the file again";
                let new = found.ok_or_else(|| Error::invalid("username", Code::Unknown, deleted))?;
                let user = users::create(tx, new, by, now).await?;
                if entry.disabled == Some(true) {
                    users::patch(tx, user.id, &UserPatch::disabled(true), by, now).await?;
                }
            }
            Step::ChangeUser { id, patch, roles } => {
                users::patch(tx, *id, patch, by, now).await?;
                users::set_roles(tx, *id, roles, by, now).await?;
            }
            Step::DeleteScope => roles::delete_scope(tx, name, by, now).await?,
            Step::DeleteRole => roles::delete_role(tx, name, by, now).await?,
            Step::DeleteClient => clients::delete(tx, &clients::parse_id(name)?, by, now).await?,
            Step::DeleteUser(id) => users::delete(tx, *id, by, now).await?,
        }
        Ok(())
    }
}

async fn create_client(tx: &mut Transaction, client: &DesiredClient, now: DateTime<Utc>) -> Result<(), Error> {
    let (by, new) = (&Authority::system(), &client.new);
    let secret = client.secret.as_ref().or(client.generated.as_ref());
    if secret.is_none() && new.kind == clients::ClientKind::Confidential {
        let message = "is required at the start of a server (or secret_file): nobody would see a generated secret";
        return Err(Error::invalid("secret_env", Code::Required, message));
    }
    clients::create(tx, new, secret, by, now).await?;
    if client.disabled == Some(true) {
        clients::patch(tx, &new.client_id, &ClientPatch::disabled(true), by, now).await?;
    }
    Ok(())
}
