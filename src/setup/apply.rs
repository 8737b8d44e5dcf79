//! Makes what a set-up file says.

use std::{collections::HashMap, path::Path, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use secrecy::ExposeSecret as _;

use super::{
    error::ApplyError,
    plan::{Change, Difference, Stage, Step},
    wanted::{Wanted, WantedClient},
};
use crate::{
    app::App,
    authority::Authority,
    changes,
    clients::{self, ClientPatch},
    error::{Code, Error},
    roles,
    store::Conn,
    users::{self, NewUser, UserPatch},
};

/// How a file is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the file does not name is removed.
    pub prune: bool,
    /// Nothing is changed; all the rest is as if it were.
    pub dry_run: bool,
}

/// What applying a file came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// In the order in which it was done. None: everything was as the file says.
    pub changes: Vec<Change>,
}

/// The users who are new, by their entries, with the hashes of their passwords.
type NewUsers = HashMap<usize, (NewUser, String)>;

/// Makes scopes, roles, clients and users as a file says: all of it or, where anything is refused, nothing.
pub async fn apply(app: &App, file: &Path, options: Options) -> Result<Applied, ApplyError> {
    run(app, &Wanted::read(file)?, options).await
}

/// As [`apply`], where nobody would see a secret that is generated. Of several servers that start together one does what is to
/// be done.
pub(crate) async fn apply_at_start(app: &App, file: &Path) -> Result<(), ApplyError> {
    let mut wanted = Wanted::read(file)?;
    for client in wanted.clients.iter_mut().flatten().filter(|client| client.new.jwks.is_none()) {
        client.generated = None;
    }
    let applied = run(app, &wanted, Options::default()).await?;
    tracing::info!(file = %file.display(), changes = applied.changes.len(), "the set-up file was applied");
    Ok(())
}

async fn run(app: &App, wanted: &Wanted, options: Options) -> Result<Applied, ApplyError> {
    let Options { prune, dry_run } = options;
    if prune {
        wanted.check_pruned()?;
    }
    let differences = look(app, wanted, prune).await?;
    if differences.is_empty() {
        return Ok(Applied::default());
    }
    let new_users = new_users(app, wanted, &differences, dry_run).await?;
    // What there is may have changed since: it is compared once more, by those who change it, one after the other.
    let make = async |conn: &mut Conn| make(conn, app, wanted, prune, &new_users).await;
    let mut done = if dry_run { changes::rehearse(app, make).await? } else { changes::make(app, make).await? };
    if dry_run {
        for change in &mut done {
            change.client_secret = None;
        }
    }
    Ok(Applied { changes: done })
}

/// All differences, without a lock that anybody would wait for.
async fn look<'w>(app: &App, wanted: &'w Wanted, prune: bool) -> Result<Vec<Difference<'w>>, Error> {
    let mut conn = app.store.read().await?;
    let mut differences = Vec::new();
    for stage in Stage::ALL {
        differences.extend(stage.differences(&mut conn, wanted, prune).await?);
    }
    Ok(differences)
}

/// The users who are new, and the hashes of their passwords: before the transaction, so that nobody waits for it meanwhile.
async fn new_users(
    app: &App,
    wanted: &Wanted,
    differences: &[Difference<'_>],
    dry_run: bool,
) -> Result<NewUsers, Error> {
    let (mut users, mut errors) = (Vec::new(), Vec::new());
    for difference in differences {
        let (Step::CreateUser(entry), Some(place)) = (&difference.step, difference.place) else { continue };
        match wanted.password(place, entry) {
            Ok(password) => users.push((
                place.index,
                NewUser {
                    username: entry.username.clone(),
                    email: entry.email.clone(),
                    display_name: entry.display_name.clone(),
                    password,
                    roles: entry.roles.clone(),
                },
            )),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    // Never more than there are threads for, and places to wait.
    let at_once = app.config.hash.threads.min(app.config.hash.queue);
    let hashes = stream::iter(users).map(async |(index, user)| {
        let hash = if dry_run { String::new() } else { app.passwords.hash(&user.password).await? };
        Ok((index, (user, hash)))
    });
    hashes.buffer_unordered(at_once).collect::<Vec<_>>().await.into_iter().collect()
}

/// Makes all differences go away, in a transaction that is under way.
async fn make(
    conn: &mut Conn,
    app: &App,
    wanted: &Wanted,
    prune: bool,
    new_users: &NewUsers,
) -> Result<Vec<Change>, Error> {
    let mut done = Vec::new();
    for stage in Stage::ALL {
        for mut difference in stage.differences(conn, wanted, prune).await? {
            let made = take(conn, app, &difference, new_users).await;
            made.map_err(|error| match difference.place {
                Some(place) => place.blame(error),
                None => error,
            })?;
            if let Step::CreateClient(client) = difference.step {
                let secret = client.generated.as_ref().map(|secret| secret.expose_secret().to_owned());
                difference.change.client_secret = secret;
            }
            done.push(difference.change);
        }
    }
    Ok(done)
}

/// Takes one step. Nobody is asked for permission: who can write the file has the database anyway.
async fn take(conn: &mut Conn, app: &App, difference: &Difference<'_>, new_users: &NewUsers) -> Result<(), Error> {
    let (by, now, name) = (&Authority::system(), app.now(), difference.change.name.as_str());
    match &difference.step {
        Step::PutScope(scope) => {
            roles::put_scope_in(conn, &scope.name, scope.description.as_deref(), by, now).await?;
        }
        Step::PutRole(role) => {
            let description = role.description.as_deref();
            roles::put_role_in(conn, &role.name, description, &role.scopes, by, now).await?;
        }
        Step::CreateClient(client) => create_client(conn, app, client).await?,
        Step::ChangeClient { id, patch, secret } => {
            clients::patch_in(conn, id.as_str(), patch, by, now).await?;
            if let Some(secret) = secret {
                clients::set_secret_in(conn, id.as_str(), secret, Duration::ZERO, by, now).await?;
            }
        }
        Step::CreateUser(entry) => {
            let found = difference.place.and_then(|place| new_users.get(&place.index));
            let (new, hash) = found
                .ok_or_else(|| Error::invalid("username", Code::Unknown, "was deleted a moment ago: apply it again"))?;
            let user = users::insert(conn, new, hash, by, now).await?;
            if entry.disabled == Some(true) {
                let patch = UserPatch { disabled: Some(true), ..UserPatch::default() };
                users::patch_in(conn, user.id, &patch, by, now).await?;
            }
        }
        Step::ChangeUser { id, patch, roles } => {
            users::patch_in(conn, *id, patch, by, now).await?;
            users::set_roles_in(conn, *id, roles, by, now).await?;
        }
        Step::DeleteScope => roles::delete_scope_in(conn, name, by, now).await?,
        Step::DeleteRole => roles::delete_role_in(conn, name, by, now).await?,
        Step::DeleteClient => clients::delete_in(conn, name, by, now).await?,
        Step::DeleteUser(id) => users::delete_in(conn, *id, by, now).await?,
    }
    Ok(())
}

async fn create_client(conn: &mut Conn, app: &App, client: &WantedClient) -> Result<(), Error> {
    let (by, now, new) = (&Authority::system(), app.now(), &client.new);
    let secret = client.secret.as_ref().or(client.generated.as_ref());
    if secret.is_none() && new.kind == clients::ClientKind::Confidential {
        let message = "is needed at a server's start (or secret_file): nobody would see one that is generated";
        return Err(Error::invalid("secret_env", Code::Required, message));
    }
    clients::create_in(conn, new, secret, by, now).await?;
    if client.disabled == Some(true) {
        let patch = ClientPatch { disabled: Some(true), ..ClientPatch::default() };
        clients::patch_in(conn, new.client_id.as_str(), &patch, by, now).await?;
    }
    Ok(())
}
