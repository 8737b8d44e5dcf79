//! Applies a set-up file.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _};
use secrecy::ExposeSecret as _;

use super::{
    desired::{DesiredClient, DesiredState, Existing},
    diff::{Change, Difference, Stage, Step},
    error::{ApplyError, Place},
    file::UserEntry,
};
use crate::{
    authority::Authority,
    clients::{self, ClientPatch},
    error::{Code, Error, FieldError},
    passwords::{NewPassword, Passwords, Turn},
    roles,
    store::{Conn, Store, StoreError, Transaction},
    users::{self, NewUser, UserPatch},
};

/// A file that differs from the database, prepared for its transaction.
pub struct Prepared<'d> {
    desired: &'d DesiredState,
    new_users: NewUsers,
    /// The problems of secrets and passwords, in a dry run.
    secret_errors: Vec<FieldError>,
}

/// The new users, by the index of their entries.
type NewUsers = HashMap<usize, NewUser>;

/// Compares a file with the database and prepares its changes. `None`: the database is in the desired state.
///
/// Reports all problems at once. In a dry run, [`Prepared::check_secrets`] reports those of secrets and passwords.
// Passwords are hashed here, before the transaction: it would hold its locks for that long.
pub async fn prepare<'d>(
    store: &Store,
    passwords: &Passwords,
    desired: &'d DesiredState,
) -> Result<Option<Prepared<'d>>, ApplyError> {
    try_prepare(store, passwords, desired).await.map_err(|error| ApplyError::of(&desired.path, error))
}

async fn try_prepare<'d>(
    store: &Store,
    passwords: &Passwords,
    desired: &'d DesiredState,
) -> Result<Option<Prepared<'d>>, Error> {
    let mut conn = store.read().await?;
    let mut errors = desired.check_references(&existing(&mut conn, desired).await?);
    let mut secret_errors = desired.secret_errors.clone();
    let differences = match differences(&mut conn, desired).await {
        Err(Error::Invalid(found)) => {
            errors.extend(found);
            Vec::new()
        }
        compared => compared?,
    };
    drop(conn);
    let users = read_users(passwords, desired, &differences, &mut secret_errors);
    for difference in &differences {
        if let (Step::CreateClient(client), Some(place)) = (&difference.step, difference.place) {
            errors.extend(client.check_new().err().map(|error| place.of(error)));
        }
    }
    let is_possible = errors.is_empty() && (desired.options.dry_run || secret_errors.is_empty());
    if !is_possible {
        errors.extend(secret_errors);
        return Err(Error::Invalid(errors));
    }
    if differences.is_empty() && secret_errors.is_empty() {
        return Ok(None);
    }
    let new_users = new_users(passwords, users, desired.options.dry_run, &mut secret_errors).await?;
    if !(desired.options.dry_run || secret_errors.is_empty()) {
        return Err(Error::Invalid(secret_errors));
    }
    Ok(Some(Prepared { desired, new_users, secret_errors }))
}

/// Returns the scopes and roles that are left of the database. `--prune` deletes those that the file does not have, of each
/// kind that it has a section for.
async fn existing(conn: &mut Conn, desired: &DesiredState) -> Result<Existing, StoreError> {
    let mut existing = Existing::built_in();
    if !(desired.options.prune && desired.scopes.is_some()) {
        existing.scopes = roles::all_scopes(conn).await?.iter().map(ToString::to_string).collect();
    }
    if !(desired.options.prune && desired.roles.is_some()) {
        existing.roles = roles::all_roles(conn).await?;
    }
    Ok(existing)
}

/// Returns all differences, read without locks.
async fn differences<'d>(conn: &mut Conn, desired: &'d DesiredState) -> Result<Vec<Difference<'d>>, Error> {
    let mut differences = Vec::new();
    for stage in Stage::ALL {
        differences.extend(stage.differences(conn, desired).await?);
    }
    Ok(differences)
}

/// A new user, and the password to hash; `None`: it is missing, in a dry run.
type UserToHash<'d> = (Place, &'d UserEntry, Option<NewPassword>);

/// Reads the passwords of the new users, and collects all errors.
fn read_users<'d>(
    passwords: &Passwords,
    desired: &DesiredState,
    differences: &[Difference<'d>],
    errors: &mut Vec<FieldError>,
) -> Vec<UserToHash<'d>> {
    let mut users = Vec::new();
    for difference in differences {
        let (Step::CreateUser(entry), Some(place)) = (&difference.step, difference.place) else { continue };
        let password = desired.password(passwords, place, entry).map_err(|error| errors.push(error)).ok();
        users.push((place, *entry, password));
    }
    users
}

/// Returns the new users, with the hashes of their passwords, and collects the errors of passwords that are refused. In a dry
/// run, nothing is hashed.
async fn new_users(
    passwords: &Passwords,
    users: Vec<UserToHash<'_>>,
    dry_run: bool,
    errors: &mut Vec<FieldError>,
) -> Result<NewUsers, Error> {
    // At most as many at a time as the hash queue takes: more would be refused.
    let hashed = stream::iter(users).map(async |(place, entry, password)| {
        let hash = match &password {
            Some(password) => new_hash(passwords, entry, password, dry_run).await.map_err(|error| place.blame(error)),
            None => Ok(String::new()),
        };
        (place, entry, hash)
    });
    let mut new_users = NewUsers::new();
    for (place, entry, hash) in hashed.buffered(passwords.concurrency()).collect::<Vec<_>>().await {
        let password_hash = match hash {
            Err(Error::Invalid(fields)) => {
                errors.extend(fields);
                String::new()
            }
            hash => hash?,
        };
        let user = NewUser {
            username: entry.username.clone(),
            email: entry.email.clone(),
            display_name: entry.display_name.clone(),
            password_hash,
            roles: entry.roles.clone(),
        };
        new_users.insert(place.index, user);
    }
    Ok(new_users)
}

async fn new_hash(
    passwords: &Passwords,
    entry: &UserEntry,
    password: &NewPassword,
    dry_run: bool,
) -> Result<String, Error> {
    if dry_run {
        return passwords.check_new(password, entry.personal(), &Turn::known()).await.map(|()| String::new());
    }
    passwords.hash_new(password, entry.personal(), &Turn::known()).await
}

impl Prepared<'_> {
    /// Returns the error of [`Prepared::apply`], attributed to the file where it is one of the file.
    #[must_use]
    pub fn explain(&self, error: Error) -> ApplyError {
        ApplyError::of(&self.desired.path, error)
    }

    /// Checks, after a dry run, that the secrets and passwords are there which the changes need.
    pub fn check_secrets(&self) -> Result<(), ApplyError> {
        if self.secret_errors.is_empty() {
            Ok(())
        } else {
            Err(self.explain(Error::Invalid(self.secret_errors.clone())))
        }
    }

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
                for mut difference in stage.differences(tx, self.desired).await? {
                    let taken = self.take(tx, &difference, now).await;
                    taken.map_err(|error| match difference.place {
                        Some(place) => place.blame(error),
                        None => error,
                    })?;
                    // A dry run shows no secret: the real run generates another one.
                    if let (Step::CreateClient(client), false) = (&difference.step, self.desired.options.dry_run) {
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
    // Again: the client existed when the file was compared, and may have been deleted before the transaction.
    client.check_new()?;
    let secret = client.secret.as_ref().or(client.generated.as_ref());
    clients::create(tx, new, secret, by, now).await?;
    if client.disabled == Some(true) {
        clients::patch(tx, &new.client_id, &ClientPatch::disabled(true), by, now).await?;
    }
    Ok(())
}
