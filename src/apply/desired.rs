//! The desired state: a set-up file with the secrets that it references, and its validation.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use grantd_guard::Scope;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    error::{ApplyError, Place},
    file::{ClientEntry, RoleEntry, ScopeEntry, SetupFile, UserEntry},
};
use crate::{
    clients::{ClientKind, Jwks, NewClient},
    error::{Code, Error, FieldError},
    names::{RoleName, Username},
    passwords::{NewPassword, Passwords},
    roles::BUILT_IN_SCOPES,
    secret::{self, CLIENT_SECRET},
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

/// The desired state. `None`: the file has no section of this kind, and objects of this kind are not changed.
pub struct DesiredState {
    pub(super) scopes: Option<Vec<ScopeEntry>>,
    pub(super) roles: Option<Vec<RoleEntry>>,
    pub(super) clients: Option<Vec<DesiredClient>>,
    pub(super) users: Option<Vec<UserEntry>>,
    pub(super) options: Options,
    /// The path of the file.
    pub(super) path: PathBuf,
    /// The problems of the clients' secrets. Without the secrets, the changes of a dry run are still known.
    pub(super) secret_errors: Vec<FieldError>,
}

/// A client of the desired state.
pub(super) struct DesiredClient {
    pub(super) new: NewClient,
    pub(super) disabled: Option<bool>,
    /// Whether the file references a secret.
    refers: bool,
    /// The secret that the file references.
    pub(super) secret: Option<SecretString>,
    /// A generated secret, for a confidential client without one in the file. It is used only if the client is new.
    pub(super) generated: Option<SecretString>,
}

impl DesiredClient {
    /// Checks that a new client has a secret if it needs one.
    pub(super) fn check_new(&self) -> Result<(), FieldError> {
        if self.refers || self.generated.is_some() || self.new.jwks.is_some() || self.new.kind == ClientKind::Public {
            return Ok(());
        }
        let message = "secret_env or secret_file is required when a server applies the file, because a generated secret would \
                       not be shown";
        Err(FieldError::new("secret_env", Code::Required, message))
    }
}

/// The scopes and roles that an entry may reference, beside those of the file.
pub(super) struct Existing {
    pub(super) scopes: HashSet<String>,
    pub(super) roles: HashSet<String>,
}

impl Existing {
    /// Those of every database.
    pub(super) fn built_in() -> Self {
        Self {
            scopes: BUILT_IN_SCOPES.iter().map(|(name, _)| (*name).to_owned()).collect(),
            roles: [RoleName::admin(), RoleName::member()].map(|role| role.to_string()).into(),
        }
    }
}

impl DesiredState {
    /// Reads a file and the secrets of clients that it references. Reports all invalid entries at once.
    pub fn read(path: &Path, options: Options) -> Result<Self, ApplyError> {
        let failed = |problems| ApplyError::File { path: path.to_owned(), problems };
        let text = std::fs::read_to_string(path).map_err(|error| failed(vec![format!("cannot be read: {error}")]))?;
        let SetupFile { scopes, roles, clients, users } = SetupFile::parse(&text).map_err(failed)?;
        let (mut errors, mut secret_errors) = (Vec::new(), Vec::new());
        let directory = path.parent().unwrap_or(Path::new(""));
        let read = |entries| read_clients(entries, directory, options, &mut errors, &mut secret_errors);
        let clients = clients.map(read).transpose().map_err(ApplyError::Failed)?;
        let desired = Self { scopes, roles, clients, users, options, path: path.to_owned(), secret_errors };
        desired.check(&mut errors);
        if errors.is_empty() {
            return Ok(desired);
        }
        errors.extend(desired.secret_errors);
        Err(ApplyError::of(path, Error::Invalid(errors)))
    }

    /// Reports repeated entries, and the role `admin`.
    fn check(&self, errors: &mut Vec<FieldError>) {
        let scopes = self.scopes.iter().flatten().map(|scope| scope.name.to_string());
        let roles = self.roles.iter().flatten().map(|role| role.name.to_string());
        let clients = self.clients.iter().flatten().map(|client| client.new.client_id.to_string());
        // User names are unique without regard to case, as in the database.
        let users = self.users.iter().flatten().map(|user| user.username.as_str().to_ascii_lowercase());
        twice("scopes", "name", scopes, errors);
        twice("roles", "name", roles, errors);
        twice("clients", "client_id", clients, errors);
        twice("users", "username", users, errors);
        for (place, role) in places("roles", self.roles.as_deref()) {
            if role.name == RoleName::admin() {
                let message = "the role admin has every scope, and cannot be changed in a file";
                errors.push(place.error("name", Code::Format, message));
            }
        }
    }

    /// Checks the file for a database that does not exist yet, in which everything is new but the built-in objects and this
    /// administrator.
    pub async fn check_new(&self, passwords: &Passwords, administrator: Option<&Username>) -> Result<(), ApplyError> {
        let mut errors = self.secret_errors.clone();
        errors.extend(self.check_references(&Existing::built_in()));
        let clients = places("clients", self.clients.as_deref());
        errors.extend(clients.filter_map(|(place, client)| Some(place.of(client.check_new().err()?))));
        let is_new = |user: &UserEntry| {
            administrator.is_none_or(|admin| !admin.as_str().eq_ignore_ascii_case(user.username.as_str()))
        };
        for (place, user) in places("users", self.users.as_deref()).filter(|(_, user)| is_new(user)) {
            let checked = match self.password(passwords, place, user) {
                Ok(password) => passwords.check_new(&password, user.personal()).await,
                Err(error) => Err(error.into()),
            };
            match checked.map_err(|error| place.blame(error)) {
                Err(Error::Invalid(fields)) => errors.extend(fields),
                Err(error) => return Err(ApplyError::Failed(error)),
                Ok(()) => {}
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ApplyError::of(&self.path, Error::Invalid(errors))) }
    }

    /// Reports references to scopes and roles that neither the file nor the database has, or that `--prune` deletes.
    pub(super) fn check_references(&self, existing: &Existing) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let absent = |kind: &str, name: &str, pruned: bool| {
            if pruned && self.options.prune {
                format!("the file has no {kind} {name}, and --prune leaves none that it has not")
            } else {
                format!("{kind} {name} does not exist; create it first")
            }
        };
        let own: HashSet<&str> = self.scopes.iter().flatten().map(|scope| scope.name.as_str()).collect();
        let of_roles = places("roles", self.roles.as_deref()).map(|(place, role)| (place, &role.scopes));
        let of_clients = places("clients", self.clients.as_deref()).map(|(place, client)| (place, &client.new.scopes));
        for (place, scopes) in of_roles.chain(of_clients) {
            let unknown = scopes.iter().map(Scope::as_str);
            for name in unknown.filter(|name| !own.contains(name) && !existing.scopes.contains(*name)) {
                errors.push(place.error("scopes", Code::Unknown, absent("scope", name, self.scopes.is_some())));
            }
        }
        let own: HashSet<&str> = self.roles.iter().flatten().map(|role| role.name.as_str()).collect();
        for (place, user) in places("users", self.users.as_deref()) {
            let unknown = user.roles.iter().map(RoleName::as_str);
            for name in unknown.filter(|name| !own.contains(name) && !existing.roles.contains(*name)) {
                errors.push(place.error("roles", Code::Unknown, absent("role", name, self.roles.is_some())));
            }
        }
        errors
    }

    /// Reads the password of a new user.
    pub(super) fn password(
        &self,
        passwords: &Passwords,
        place: Place,
        user: &UserEntry,
    ) -> Result<NewPassword, FieldError> {
        let Source { value, field } = Source::read(
            place,
            ("password_env", user.password_env.as_deref()),
            ("password_file", user.password_file.as_deref()),
            self.path.parent().unwrap_or(Path::new("")),
        )?
        .ok_or_else(|| {
            let message = "is required for a new user (or password_file)";
            place.error("password_env", Code::Required, message)
        })?;
        passwords.new_password(field, value.expose_secret()).map_err(|error| place.of(error))
    }
}

/// The entries of a section, each with its place.
pub(super) fn places<'d, T>(section: &'static str, entries: Option<&'d [T]>) -> impl Iterator<Item = (Place, &'d T)> {
    entries.unwrap_or_default().iter().enumerate().map(move |(index, entry)| (Place { section, index }, entry))
}

/// Reads the clients with their keys and secrets, and collects all errors.
fn read_clients(
    entries: Vec<ClientEntry>,
    directory: &Path,
    options: Options,
    errors: &mut Vec<FieldError>,
    secret_errors: &mut Vec<FieldError>,
) -> Result<Vec<DesiredClient>, Error> {
    let mut clients = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let place = Place { section: "clients", index };
        let jwks = jwks(place, &entry, directory).map_err(|error| errors.push(error)).unwrap_or_default();
        let secret =
            client_secret(place, &entry, directory).map_err(|error| secret_errors.push(error)).unwrap_or_default();
        // Here and not in the transaction: a repeated transaction must not create another secret than the one that is shown.
        let is_visible = !options.given_secrets || jwks.is_some();
        let generated = match (entry.kind, &secret) {
            (ClientKind::Confidential, None) if is_visible => Some(secret::generate(CLIENT_SECRET)?),
            _ => None,
        };
        let refers = entry.secret_env.is_some() || entry.secret_file.is_some();
        let new = NewClient {
            client_id: entry.client_id,
            name: entry.name,
            kind: entry.kind,
            grant_types: entry.grant_types,
            scopes: entry.scopes,
            audiences: entry.audiences,
            access_token_ttl: entry.access_token_ttl,
            jwks,
            forwards_address: entry.forwards_address,
        };
        clients.push(DesiredClient { new, disabled: entry.disabled, refers, secret, generated });
    }
    Ok(clients)
}

/// Reads the JWK set of a client, from the entry or a file.
fn jwks(place: Place, entry: &ClientEntry, directory: &Path) -> Result<Option<Jwks>, FieldError> {
    let parse = |field: &str, json: &str| {
        Jwks::parse(json).map(Some).map_err(|error| place.error(field, error.code, error.message))
    };
    match (&entry.jwks, &entry.jwks_file) {
        (Some(_), Some(_)) => {
            Err(place.error("jwks_file", Code::Format, "only one of jwks and jwks_file may be there"))
        }
        (Some(jwks), None) => parse("jwks", &jwks.to_string()),
        (None, Some(path)) => parse("jwks_file", &read(place, "jwks_file", &directory.join(path))?),
        (None, None) => Ok(None),
    }
}

/// Reads the secret of a client, and checks that it is a generated one: a secret that people chose could be guessed.
fn client_secret(place: Place, entry: &ClientEntry, directory: &Path) -> Result<Option<SecretString>, FieldError> {
    let given = Source::read(
        place,
        ("secret_env", entry.secret_env.as_deref()),
        ("secret_file", entry.secret_file.as_deref()),
        directory,
    )?;
    let Some(Source { value, field }) = given else { return Ok(None) };
    if entry.kind == ClientKind::Public {
        return Err(place.error(field, Code::Format, "a public client has no secret"));
    }
    if !secret::is_generated(secret::CLIENT_SECRET, value.expose_secret()) {
        let message = "is not a grantd client secret; `grantd keygen --client-secret` prints a new one";
        return Err(place.error(field, Code::Format, message));
    }
    Ok(Some(value))
}

/// A secret that the file references.
struct Source {
    value: SecretString,
    /// The field with the reference.
    field: &'static str,
}

impl Source {
    /// Reads a secret from an environment variable or a file, without the line break at its end.
    fn read(
        place: Place,
        (env, variable): (&'static str, Option<&str>),
        (file, path): (&'static str, Option<&Path>),
        directory: &Path,
    ) -> Result<Option<Self>, FieldError> {
        match (variable, path) {
            (Some(_), Some(_)) => {
                Err(place.error(file, Code::Format, format!("only one of {env} and {file} may be there")))
            }
            (Some(name), None) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(Some(Self { value: value.into(), field: env })),
                _ => Err(place.error(env, Code::Required, format!("the variable {name} is not set"))),
            },
            (None, Some(path)) => {
                let text = read(place, file, &directory.join(path))?;
                Ok(Some(Self { value: text.trim_end_matches(['\n', '\r']).into(), field: file }))
            }
            (None, None) => Ok(None),
        }
    }
}

fn read(place: Place, field: &str, path: &Path) -> Result<String, FieldError> {
    std::fs::read_to_string(path)
        .map_err(|error| place.error(field, Code::Format, format!("cannot read {}: {error}", path.display())))
}

/// Reports names that are repeated in a section.
fn twice(section: &'static str, field: &str, names: impl Iterator<Item = String>, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, name) in names.enumerate() {
        if let Some(name) = seen.replace(name) {
            errors.push(Place { section, index }.error(field, Code::Format, format!("{name} is there twice")));
        }
    }
}
