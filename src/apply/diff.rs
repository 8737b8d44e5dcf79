//! The differences between the database and a set-up file.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    desired::{DesiredClient, DesiredState, places},
    error::Place,
    file::{RoleEntry, ScopeEntry, UserEntry},
};
use crate::{
    clients::{self, Client, ClientPatch, Credentials},
    error::{Code, Error},
    ids::UserId,
    names::{ClientId, RoleName},
    patch::Patch,
    roles::{self, Role, ScopeInfo},
    secret,
    store::{
        Conn, StoreError,
        pages::{PAGE, every},
    },
    users::{self, User, UserPatch},
};

/// A difference, as it is displayed.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The action.
    pub action: Action,
    /// `scope`, `role`, `client` or `user`.
    pub kind: &'static str,
    /// The name or id.
    pub name: String,
    /// The changed fields.
    pub fields: Vec<&'static str>,
    /// The secret that was generated for a new client. It is shown only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// The action of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist.
    Create,
    /// It exists with other fields.
    Change,
    /// It exists, and the file does not have it.
    Delete,
}

/// A difference, and the step that resolves it.
pub(super) struct Difference<'w> {
    pub(super) change: Change,
    /// The entry of the file; `None` for deletions.
    pub(super) place: Option<Place>,
    pub(super) step: Step<'w>,
}

/// A step that resolves a difference.
pub(super) enum Step<'w> {
    PutScope(&'w ScopeEntry),
    PutRole(&'w RoleEntry),
    CreateClient(&'w DesiredClient),
    ChangeClient { id: &'w ClientId, patch: ClientPatch, secret: Option<&'w SecretString> },
    CreateUser(&'w UserEntry),
    ChangeUser { id: UserId, patch: UserPatch, roles: &'w [RoleName] },
    DeleteScope,
    DeleteRole,
    DeleteClient,
    DeleteUser(UserId),
}

/// A stage of the comparison, in the order in which changes are made: later stages reference objects of earlier ones.
/// Deletions come last and in the reverse order, except for users: a new user may have the name or e-mail of a deleted
/// one.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    OldUsers,
    Scopes,
    Roles,
    Clients,
    Users,
    OldClients,
    OldRoles,
    OldScopes,
}

impl Stage {
    pub(super) const ALL: [Self; 8] = [
        Self::OldUsers,
        Self::Scopes,
        Self::Roles,
        Self::Clients,
        Self::Users,
        Self::OldClients,
        Self::OldRoles,
        Self::OldScopes,
    ];

    /// Returns the differences of this stage. In a transaction, they include the changes of earlier stages.
    pub(super) async fn differences<'w>(
        self,
        conn: &mut Conn,
        desired: &'w DesiredState,
    ) -> Result<Vec<Difference<'w>>, Error> {
        let DesiredState { scopes, roles, clients, users, options, .. } = desired;
        match (self, options.prune) {
            (Self::Scopes, _) => of_scopes(conn, scopes.as_deref()).await,
            (Self::Roles, _) => of_roles(conn, roles.as_deref()).await,
            (Self::Clients, _) => of_clients(conn, clients.as_deref()).await,
            (Self::Users, _) => of_users(conn, users.as_deref()).await,
            (Self::OldScopes, true) => old_scopes(conn, scopes.as_deref()).await,
            (Self::OldRoles, true) => old_roles(conn, roles.as_deref()).await,
            (Self::OldClients, true) => old_clients(conn, clients.as_deref()).await,
            (Self::OldUsers, true) => old_users(conn, users.as_deref()).await,
            (_, false) => Ok(Vec::new()),
        }
    }
}

impl<'w> Difference<'w> {
    /// Returns the difference of an entry. `fields`: the fields that differ; `None`: the object does not exist.
    fn of_entry(place: Place, name: &impl ToString, fields: Option<Vec<&'static str>>, step: Step<'w>) -> Self {
        let action = if fields.is_some() { Action::Change } else { Action::Create };
        let kind = place.section.trim_end_matches('s');
        let fields = fields.unwrap_or_default();
        let change = Change { action, kind, name: name.to_string(), fields, client_secret: None };
        Self { change, place: Some(place), step }
    }

    fn of_rest(kind: &'static str, name: &impl ToString, step: Step<'w>) -> Self {
        let change =
            Change { action: Action::Delete, kind, name: name.to_string(), fields: Vec::new(), client_secret: None };
        Self { change, place: None, step }
    }
}

/// Returns the names of the fields that differ.
fn differing(fields: impl IntoIterator<Item = (&'static str, bool)>) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Returns all scopes of the database.
pub(super) async fn scopes_there(conn: &mut Conn) -> Result<Vec<ScopeInfo>, StoreError> {
    let read = async |after: Option<String>| roles::list_scopes(conn, &after.unwrap_or_default(), PAGE).await;
    every(read, |scope| scope.name.to_string()).await
}

/// Returns all roles of the database.
pub(super) async fn roles_there(conn: &mut Conn) -> Result<Vec<Role>, StoreError> {
    let read = async |after: Option<String>| roles::list_roles(conn, &after.unwrap_or_default(), PAGE).await;
    every(read, |role| role.name.to_string()).await
}

/// Returns all clients of the database, with the hashes of their secrets.
pub(super) async fn clients_there(conn: &mut Conn) -> Result<Vec<Credentials>, StoreError> {
    let read = async |after: Option<String>| clients::list_credentials(conn, &after.unwrap_or_default(), PAGE).await;
    every(read, |credentials| credentials.client.client_id.to_string()).await
}

async fn of_scopes<'w>(conn: &mut Conn, desired: Option<&'w [ScopeEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    let there = scopes_there(conn).await?;
    let there: HashMap<&str, &ScopeInfo> = there.iter().map(|scope| (scope.name.as_str(), scope)).collect();
    let differences = places("scopes", desired).filter_map(|(place, entry)| {
        let fields = there.get(entry.name.as_str()).map(|scope| {
            let described = entry.description.as_ref().is_some_and(|text| *text != scope.description);
            differing([("description", described)])
        });
        let differs = fields.as_ref().is_none_or(|fields| !fields.is_empty());
        differs.then(|| Difference::of_entry(place, &entry.name, fields, Step::PutScope(entry)))
    });
    Ok(differences.collect())
}

async fn of_roles<'w>(conn: &mut Conn, desired: Option<&'w [RoleEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    let there = roles_there(conn).await?;
    let there: HashMap<&str, &Role> = there.iter().map(|role| (role.name.as_str(), role)).collect();
    let differences = places("roles", desired).filter_map(|(place, entry)| {
        let fields = there.get(entry.name.as_str()).map(|role| {
            let described = entry.description.as_ref().is_some_and(|text| *text != role.description);
            differing([("description", described), ("scopes", entry.scopes != role.scopes)])
        });
        let differs = fields.as_ref().is_none_or(|fields| !fields.is_empty());
        differs.then(|| Difference::of_entry(place, &entry.name, fields, Step::PutRole(entry)))
    });
    Ok(differences.collect())
}

async fn of_clients<'w>(conn: &mut Conn, desired: Option<&'w [DesiredClient]>) -> Result<Vec<Difference<'w>>, Error> {
    if desired.is_none_or(<[_]>::is_empty) {
        return Ok(Vec::new());
    }
    let there = clients_there(conn).await?;
    let there: HashMap<&str, &Credentials> = there.iter().map(|one| (one.client.client_id.as_str(), one)).collect();
    let (mut differences, mut errors) = (Vec::new(), Vec::new());
    for (place, entry) in places("clients", desired) {
        let id = &entry.new.client_id;
        let Some(credentials) = there.get(id.as_str()) else {
            differences.push(Difference::of_entry(place, id, None, Step::CreateClient(entry)));
            continue;
        };
        let client = &credentials.client;
        // A public client has no secret, and a confidential one would lose its own: the type of a client never changes.
        if client.kind != entry.new.kind {
            let message = format!("{id} is {}, which does not change: delete it first", client.kind.as_str());
            errors.push(place.error("type", Code::Format, message));
            continue;
        }
        let secret = entry.secret.as_ref().filter(|secret| !is_secret_of(credentials, secret));
        let fields = client_fields(client, entry, secret.is_some());
        if !fields.is_empty() {
            let step = Step::ChangeClient { id, patch: client_patch(entry), secret };
            differences.push(Difference::of_entry(place, id, Some(fields), step));
        }
    }
    if errors.is_empty() { Ok(differences) } else { Err(Error::Invalid(errors)) }
}

/// Returns whether a client has this secret, by its hash, in constant time.
fn is_secret_of(credentials: &Credentials, secret: &SecretString) -> bool {
    let fingerprint = secret::fingerprint(secret.expose_secret());
    let present = credentials.secret_hash.as_deref().unwrap_or_default();
    verify_slices_are_equal(&fingerprint, present).is_ok()
}

fn client_fields(client: &Client, entry: &DesiredClient, secret_differs: bool) -> Vec<&'static str> {
    let new = &entry.new;
    differing([
        ("name", client.name != new.name),
        ("grant_types", client.grant_types != new.grant_types),
        ("scopes", client.scopes != new.scopes),
        ("audiences", client.audiences != new.audiences),
        ("access_token_ttl", client.access_token_ttl != new.access_token_ttl),
        ("jwks", client.jwks != new.jwks),
        ("forwards_address", client.forwards_address != new.forwards_address),
        ("disabled", entry.disabled.is_some_and(|disabled| disabled != client.disabled)),
        ("secret", secret_differs),
    ])
}

fn client_patch(entry: &DesiredClient) -> ClientPatch {
    let new = &entry.new;
    ClientPatch {
        name: Some(new.name.clone()),
        grant_types: Some(new.grant_types.clone()),
        scopes: Some(new.scopes.clone()),
        audiences: Some(new.audiences.clone()),
        access_token_ttl: new.access_token_ttl.into(),
        jwks: new.jwks.clone().into(),
        forwards_address: Some(new.forwards_address),
        disabled: entry.disabled,
    }
}

async fn of_users<'w>(conn: &mut Conn, desired: Option<&'w [UserEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    // By name and not page by page: a file has few users, and a database may have very many.
    let lower = |entry: &UserEntry| entry.username.as_str().to_ascii_lowercase();
    let names: Vec<String> = desired.iter().copied().flatten().map(lower).collect();
    let there = users::list_by_names(conn, &names).await?;
    let there: HashMap<String, User> =
        there.into_iter().map(|user| (user.username.as_str().to_ascii_lowercase(), user)).collect();
    // Case is ignored, as by the database: `Maria` is a change of `maria`, not a new user, which would be refused.
    let differences = places("users", desired).filter_map(|(place, entry)| {
        let Some(user) = there.get(&lower(entry)) else {
            return Some(Difference::of_entry(place, &entry.username, None, Step::CreateUser(entry)));
        };
        let fields = user_fields(user, entry);
        let step = Step::ChangeUser { id: user.id, patch: user_patch(entry), roles: &entry.roles };
        (!fields.is_empty()).then(|| Difference::of_entry(place, &entry.username, Some(fields), step))
    });
    Ok(differences.collect())
}

fn user_fields(user: &User, entry: &UserEntry) -> Vec<&'static str> {
    // Every user has it, named or not: without it the second run of a file would find a difference.
    let member = RoleName::member();
    let roles: BTreeSet<&RoleName> = entry.roles.iter().chain([&member]).collect();
    differing([
        ("username", user.username != entry.username),
        ("email", user.email != entry.email),
        ("display_name", user.display_name != entry.display_name),
        ("disabled", entry.disabled.is_some_and(|disabled| disabled != user.disabled)),
        ("roles", user.roles.iter().collect::<BTreeSet<_>>() != roles),
    ])
}

fn user_patch(entry: &UserEntry) -> UserPatch {
    UserPatch {
        username: Some(entry.username.clone()),
        email: Patch::from(entry.email.clone()),
        display_name: Patch::from(entry.display_name.clone()),
        disabled: entry.disabled,
    }
}

async fn old_scopes<'w>(conn: &mut Conn, desired: Option<&[ScopeEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    let Some(desired) = desired else { return Ok(Vec::new()) };
    let named: HashSet<&str> = desired.iter().map(|scope| scope.name.as_str()).collect();
    let there = scopes_there(conn).await?;
    let old = there.iter().filter(|scope| !scope.built_in && !named.contains(scope.name.as_str()));
    Ok(old.map(|scope| Difference::of_rest("scope", &scope.name, Step::DeleteScope)).collect())
}

async fn old_roles<'w>(conn: &mut Conn, desired: Option<&[RoleEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    let Some(desired) = desired else { return Ok(Vec::new()) };
    let named: HashSet<&str> = desired.iter().map(|role| role.name.as_str()).collect();
    let there = roles_there(conn).await?;
    let old = there.iter().filter(|role| !role.built_in && !named.contains(role.name.as_str()));
    Ok(old.map(|role| Difference::of_rest("role", &role.name, Step::DeleteRole)).collect())
}

async fn old_clients<'w>(conn: &mut Conn, desired: Option<&[DesiredClient]>) -> Result<Vec<Difference<'w>>, Error> {
    let Some(desired) = desired else { return Ok(Vec::new()) };
    // The client `default` cannot be deleted, so it is kept even if the file does not have it.
    let default = ClientId::default_client();
    let named = desired.iter().map(|client| client.new.client_id.as_str());
    let named: HashSet<&str> = named.chain([default.as_str()]).collect();
    let there = clients_there(conn).await?;
    let ids = there.iter().map(|credentials| &credentials.client.client_id);
    let old = ids.filter(|id| !named.contains(id.as_str()));
    Ok(old.map(|id| Difference::of_rest("client", id, Step::DeleteClient)).collect())
}

async fn old_users<'w>(conn: &mut Conn, desired: Option<&[UserEntry]>) -> Result<Vec<Difference<'w>>, Error> {
    let Some(desired) = desired else { return Ok(Vec::new()) };
    let named: HashSet<String> = desired.iter().map(|user| user.username.as_str().to_ascii_lowercase()).collect();
    let (mut old, mut last) = (Vec::new(), None);
    loop {
        let page = users::list_by_id(conn, last, PAGE).await?;
        let Some(end) = page.last() else { return Ok(old) };
        last = Some(end.id);
        let unnamed = page.iter().filter(|user| !named.contains(&user.username.as_str().to_ascii_lowercase()));
        old.extend(unnamed.map(|user| Difference::of_rest("user", &user.username, Step::DeleteUser(user.id))));
    }
}
