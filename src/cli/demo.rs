//! `grantd serve --demo`: a server with example data, in a database that is removed at the end.

use std::{
    collections::BTreeSet,
    env,
    error::Error as StdError,
    fs::{self, DirBuilder},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use grantd_guard::{Scope, Scopes};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Outcome,
    output::print,
    serve::{self, Hangup, Signals},
};
use crate::{
    app::App,
    authority::Authority,
    clients::{self, ClientKind, GrantType, NewClient},
    clock::Clock,
    config::{IGNORED_BY_DEMO, Settings},
    error::{Error, without_os_codes},
    names::RoleName,
    roles,
    secret::{self, CLIENT_SECRET, Password},
    server::Server,
    telemetry,
    users::{self, NewUser},
};

/// Those of README.md's services, and those of examples/fastapi.
const SCOPES: [(&str, &str); 4] = [
    ("items:read", "See items"),
    ("items:write", "Change items"),
    ("me", "Read information about the current user."),
    ("items", "Read items."),
];
const ROLE: &str = "shopkeeper";
/// Name, password, role. `admin` is too short a password for any other user; see [`user`].
const USERS: [(&str, &str, &str); 2] = [("alice", "wonderland", ROLE), ("admin", "admin", "admin")];
/// A client for each service: it gets tokens for calls to the other services, and follows the feed of revocations.
const CLIENTS: [(&str, &str); 3] =
    [("items-rust", "Rust service"), ("items-fastapi", "FastAPI service"), ("items-express", "Express service")];
/// A page of FastAPI logs in from the browser, at this address by default.
const FASTAPI_ORIGIN: &str = "http://127.0.0.1:8000";

/// Refuses addresses that others can reach, before any other check can advise to allow them. Malformed ones are left to the
/// check of the settings.
pub(super) fn check_listen<'a>(addresses: impl Iterator<Item = &'a String>) -> Outcome {
    loopback_only(addresses.filter_map(|address| address.parse().ok()))
}

fn loopback_only(mut addresses: impl Iterator<Item = SocketAddr>) -> Outcome {
    match addresses.find(|address| !address.ip().is_loopback()) {
        Some(public) => Err(format!(
            "--demo: {public} is not a loopback address, and everybody knows the passwords of the demo. \
             Use --listen 127.0.0.1:8080, or run `grantd serve` without --demo"
        )
        .into()),
        None => Ok(()),
    }
}

/// Runs the server until it is told to stop.
pub(super) async fn serve(settings: Settings) -> Outcome {
    // Before the directory is created: a signal at any time lets this function return, which removes the directory.
    let signals = Signals::listen(Hangup::stops()?)?;
    let directory = TemporaryDirectory::create()?;
    let mut config = settings.for_demo(&directory.0.join("grantd.db")).check()?;
    // Without an exception, not even for GRANTD_ALLOW_INSECURE.
    loopback_only(config.http.listen.iter().copied())?;
    config.bootstrap.generate_password = false;
    if !config.http.cors_origins.iter().any(|origin| origin == FASTAPI_ORIGIN) {
        config.http.cors_origins.push(FASTAPI_ORIGIN.to_owned());
    }
    let _log = telemetry::init(&config.log);
    // Boxed: the future is large.
    let server = Box::pin(Server::start(config, Clock::system())).await?;
    let secrets = fill(server.app()).await?;
    print(&greeting(&server, &secrets))?;
    serve::run(server, signals).await
}

/// A directory that only this user can read, removed when this is dropped.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn create() -> Result<Self, Box<dyn StdError>> {
        let unique = u64::from_ne_bytes(secret::random()?);
        let path = env::temp_dir().join(format!("grantd-demo-{unique:x}"));
        let made: io::Result<()> = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot create the directory {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let problem = without_os_codes(&error.to_string());
            eprintln!("warning: cannot remove {}: {problem}", self.0.display());
        }
    }
}

/// Creates scopes, a role, users and clients; returns the secrets of the clients, in the order of [`CLIENTS`].
async fn fill(app: &App) -> Result<Vec<SecretString>, Error> {
    let mut users = Vec::new();
    for (name, password, role) in USERS {
        users.push(user(app, name, password, role).await?);
    }
    let secrets = CLIENTS.iter().map(|_| secret::generate(CLIENT_SECRET)).collect::<Result<Vec<_>, _>>()?;
    let (by, now) = (&Authority::system(), app.now());
    app.write(async |tx| {
        for (name, description) in SCOPES {
            roles::put_scope(tx, &Scope::from_static(name), Some(&description.parse()?), by, now).await?;
        }
        roles::put_role(tx, &ROLE.parse()?, Some(&"Runs the shop".parse()?), &scopes(), by, now).await?;
        for new in &users {
            users::create(tx, new, by, now).await?;
        }
        for ((id, name), secret) in CLIENTS.iter().zip(&secrets) {
            clients::create(tx, &client(id, name)?, Some(secret), by, now).await?;
        }
        Ok(())
    })
    .await?;
    Ok(secrets)
}

fn scopes() -> Scopes {
    SCOPES.iter().map(|(name, _)| Scope::from_static(name)).collect()
}

/// The passwords of the demo are known to everybody: the rules for new ones are not checked.
async fn user(app: &App, name: &str, password: &str, role: &str) -> Result<NewUser, Error> {
    let password_hash = app.passwords.hash(&Password::presented("password", password)?).await?;
    let roles = vec![role.parse::<RoleName>()?];
    Ok(NewUser { username: name.parse()?, email: None, display_name: None, password_hash, roles })
}

fn client(id: &str, name: &str) -> Result<NewClient, Error> {
    Ok(NewClient {
        client_id: id.parse()?,
        name: name.parse()?,
        kind: ClientKind::Confidential,
        grant_types: BTreeSet::from([GrantType::ClientCredentials]),
        scopes: scopes(),
        audiences: Vec::new(),
        access_token_ttl: None,
        jwks: None,
        forwards_address: false,
    })
}

/// One text, written at once: who waits for the address finds everything below it.
fn greeting(server: &Server, secrets: &[SecretString]) -> String {
    let url = server.url();
    let mut lines: Vec<String> = serve::listening(server).collect();
    lines.push(format!(
        "\nThis is a demo. Its database is temporary and is removed when the server stops (Ctrl-C).\n\
         Ignored settings: {IGNORED_BY_DEMO}.\n\nUsers (name, password, roles):\n"
    ));
    lines.extend(USERS.iter().map(|(name, password, role)| format!("  {name:<14} {password:<14} {role}, member")));
    lines.push(format!("\nScopes of the role {ROLE}: {}\n\nClients (id, secret, use):\n", scopes()));
    lines.push(format!("  {:<14} {:<60} users log in with it; requests without client_id", "default", "none"));
    lines.extend(
        CLIENTS.iter().zip(secrets).map(|((id, name), secret)| {
            format!("  {id:<14} {:<60} {name}: client_credentials", secret.expose_secret())
        }),
    );
    lines.push(format!(
        "\nA token for alice, and a call with it:\n\n  \
         TOKEN=$(echo wonderland | grantd token get --login --url {url} --username alice --password-stdin)\n  \
         curl {url}/users/me -H \"Authorization: Bearer $TOKEN\"\n\n\
         The sample services of README.md accept the same token, such as\n\
         `cargo run -p grantd-guard --example items`:\n\n  \
         curl http://127.0.0.1:8081/items -H \"Authorization: Bearer $TOKEN\"\n"
    ));
    if url != "http://127.0.0.1:8080" {
        lines.push(format!("They look for http://127.0.0.1:8080: start them with ISSUER={url}.\n"));
    }
    lines.push(format!("Every route in the browser: {url}/docs\n"));
    lines.join("\n")
}
