//! The desired state: a set-up file with the secrets that it references, and its validation.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    error::{ApplyError, Place},
    file::{ClientEntry, RoleEntry, ScopeEntry, SetupFile, UserEntry},
};
use crate::{
    clients::{ClientKind, Jwks, NewClient},
    error::{Code, Error, FieldError},
    names::RoleName,
    roles::BUILT_IN_SCOPES,
    secret::{self, CLIENT_SECRET, Password},
};

/// The desired state. `None`: the file has no section of this kind, and objects of this kind are not changed.
pub(super) struct DesiredState {
    pub(super) scopes: Option<Vec<ScopeEntry>>,
    pub(super) roles: Option<Vec<RoleEntry>>,
    pub(super) clients: Option<Vec<DesiredClient>>,
    pub(super) users: Option<Vec<UserEntry>>,
    /// The directory of the file, to which its paths are relative.
    directory: PathBuf,
}

/// A client of the desired state.
pub(super) struct DesiredClient {
    pub(super) new: NewClient,
    pub(super) disabled: Option<bool>,
    /// The secret that the file references.
    pub(super) secret: Option<SecretString>,
    /// A generated secret, for a confidential client without one in the file. It is used only if the client is new.
    pub(super) generated: Option<SecretString>,
}

impl DesiredState {
    /// Reads a file and the secrets that it references. Reports all invalid entries at once.
    pub(super) fn read(path: &Path) -> Result<Self, ApplyError> {
        let text = std::fs::read_to_string(path).map_err(|error| ApplyError::Read { path: path.to_owned(), error })?;
        let SetupFile { scopes, roles, clients, users } = SetupFile::parse(&text)?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut errors = Vec::new();
        let clients = match clients {
            Some(entries) => Some(read_clients(entries, &directory, &mut errors)?),
            None => None,
        };
        let desired = Self { scopes, roles, clients, users, directory };
        desired.check(&mut errors);
        if errors.is_empty() { Ok(desired) } else { Err(Error::Invalid(errors).into()) }
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
        for (index, role) in self.roles.iter().flatten().enumerate() {
            if role.name == RoleName::admin() {
                let message = "the role admin has every scope, and is not set up by a file";
                errors.push(Place { section: "roles", index }.error("name", Code::Format, message));
            }
        }
    }

    /// Checks for `--prune` that no entry references a scope or role that would be deleted.
    pub(super) fn check_pruned(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        if let Some(scopes) = &self.scopes {
            let kept = BUILT_IN_SCOPES.iter().map(|(name, _)| *name);
            let kept: HashSet<&str> = kept.chain(scopes.iter().map(|scope| scope.name.as_str())).collect();
            let of_roles = self.roles.iter().flatten().map(|role| &role.scopes).enumerate();
            let of_clients = self.clients.iter().flatten().map(|client| &client.new.scopes).enumerate();
            let named = of_roles.map(|at| ("roles", at)).chain(of_clients.map(|at| ("clients", at)));
            for (section, (index, scopes)) in named {
                let gone = scopes.iter().filter(|scope| !kept.contains(scope.as_str()));
                let message = |scope| format!("the file has no scope {scope}, and --prune leaves none that it has not");
                let place = Place { section, index };
                errors.extend(gone.map(|scope| place.error("scopes", Code::Unknown, message(scope))));
            }
        }
        if let Some(roles) = &self.roles {
            let kept: HashSet<&str> = roles.iter().map(|role| role.name.as_str()).chain(["admin", "member"]).collect();
            for (index, user) in self.users.iter().flatten().enumerate() {
                let gone = user.roles.iter().filter(|role| !kept.contains(role.as_str()));
                let message = |role| format!("the file has no role {role}, and --prune leaves none that it has not");
                let place = Place { section: "users", index };
                errors.extend(gone.map(|role| place.error("roles", Code::Unknown, message(role))));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }

    /// Reads the password of a new user.
    pub(super) fn password(&self, place: Place, user: &UserEntry) -> Result<Password, FieldError> {
        let Source { value, field } = Source::read(
            place,
            ("password_env", user.password_env.as_deref()),
            ("password_file", user.password_file.as_deref()),
            &self.directory,
        )?
        .ok_or_else(|| {
            let message = "is required for a new user (or password_file)";
            place.error("password_env", Code::Required, message)
        })?;
        Password::chosen(field, value.expose_secret()).map_err(|error| place.of(error))
    }
}

/// Reads the clients with their keys and secrets, and collects all errors.
fn read_clients(
    entries: Vec<ClientEntry>,
    directory: &Path,
    errors: &mut Vec<FieldError>,
) -> Result<Vec<DesiredClient>, Error> {
    let mut clients = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let place = Place { section: "clients", index };
        let jwks = jwks(place, &entry, directory).map_err(|error| errors.push(error)).unwrap_or_default();
        let secret = client_secret(place, &entry, directory).map_err(|error| errors.push(error)).unwrap_or_default();
        // Here and not in the transaction: a repeated transaction must not create another secret than the one that is shown.
        let generated = match (entry.kind, &secret) {
            (ClientKind::Confidential, None) => Some(secret::generate(CLIENT_SECRET)?),
            _ => None,
        };
        let new = NewClient {
            client_id: entry.client_id,
            name: entry.name,
            kind: entry.kind,
            grant_types: entry.grant_types,
            scopes: entry.scopes,
            audiences: entry.audiences,
            access_token_ttl: entry.access_token_ttl,
            jwks,
        };
        clients.push(DesiredClient { new, disabled: entry.disabled, secret, generated });
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
    if !secret::is_client_secret(value.expose_secret()) {
        let message = "does not hold a secret that grantd made; `grantd keygen --client-secret` prints a new one";
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
