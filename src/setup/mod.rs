//! What there is to be: what the first start of an empty database makes (scopes, roles, the client `default`, an
//! administrator), and set-up files, which say more.

mod apply;
mod error;
mod export;
mod file;
mod plan;
mod wanted;

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};
use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::apply::apply_at_start;
pub use self::{
    apply::{Applied, Options, apply},
    error::ApplyError,
    export::export,
    plan::{Action, Change},
};
use crate::{
    authority::Authority,
    clients::{self, ClientId, ClientKind, GrantType, NewClient},
    config::BootstrapConfig,
    error::Error,
    passwords::{Password, Passwords},
    roles::{self, BUILT_IN_SCOPES, RoleName, RoleToPut},
    secret,
    store::{Conn, Store},
    users::{self, NewUser, Username},
};

/// 24 characters of base62: 142 bits.
const GENERATED_LENGTH: usize = 24;

/// What a first start made.
#[derive(Debug)]
pub struct FirstStart {
    /// The administrator's name.
    pub admin_username: Username,
    /// Whether an administrator was made.
    pub admin_made: bool,
    /// The administrator's password, where it was generated: nothing shows it again.
    pub admin_password: Option<SecretString>,
}

/// Makes what every database needs, unless it is there. Of several servers that start together one makes it.
pub(crate) async fn first_start(
    store: &Store,
    passwords: &Passwords,
    config: &BootstrapConfig,
    now: DateTime<Utc>,
) -> Result<Option<FirstStart>, Error> {
    if !roles::all_scopes(&mut store.read().await?).await?.is_empty() {
        return Ok(None);
    }
    let generated = match (&config.admin_password, config.generate_password) {
        (None, true) => Some(generate_password()?),
        _ => None,
    };
    let password = config.admin_password.as_ref().or(generated.as_ref());
    let admin = match password {
        Some(password) => Some(admin(config, password, passwords).await?),
        None => None,
    };
    let made = store
        .transact(async |conn| {
            if !make_scopes_and_roles(conn, now).await? {
                return Ok(false);
            }
            make_default_client(conn, now).await?;
            if let Some((new, hash)) = &admin {
                users::insert(conn, new, hash, &Authority::system(), now).await?;
            }
            Ok(true)
        })
        .await?;
    Ok(made.then(|| FirstStart {
        admin_username: config.admin_username.clone(),
        admin_made: admin.is_some(),
        admin_password: generated,
    }))
}

fn generate_password() -> Result<SecretString, Error> {
    let text = secret::generate("")?;
    Ok(text.expose_secret()[..GENERATED_LENGTH].into())
}

async fn admin(
    config: &BootstrapConfig,
    password: &SecretString,
    passwords: &Passwords,
) -> Result<(NewUser, String), Error> {
    let password =
        Password::chosen("password", password.expose_secret()).map_err(|error| Error::Invalid(vec![error]))?;
    let hash = passwords.hash(&password).await?;
    let username = config.admin_username.clone();
    let new = NewUser { username, email: None, display_name: None, password, roles: vec![RoleName::admin()] };
    Ok((new, hash))
}

fn built_in_scopes() -> Scopes {
    BUILT_IN_SCOPES.iter().map(|(name, _)| Scope::from_static(name)).collect()
}

/// `false`: another server did it a moment ago.
async fn make_scopes_and_roles(conn: &mut Conn, now: DateTime<Utc>) -> Result<bool, Error> {
    for (name, description) in BUILT_IN_SCOPES {
        if !roles::insert_scope(conn, &Scope::from_static(name), description, true, now).await? {
            return Ok(false);
        }
    }
    let built_in = [
        (RoleName::admin(), "May do everything", built_in_scopes(), true),
        (RoleName::member(), "What every user has", [Scope::from_static("account")].into_iter().collect(), false),
    ];
    for (name, description, scopes, every_scope) in &built_in {
        let description = Some(*description);
        let role = RoleToPut { name, description, scopes, every_scope: *every_scope, built_in: true };
        roles::put_role_row(conn, &role, now).await?;
    }
    Ok(true)
}

async fn make_default_client(conn: &mut Conn, now: DateTime<Utc>) -> Result<(), Error> {
    let client = NewClient {
        client_id: ClientId::default_client(),
        name: "Requests that name no client".to_owned(),
        kind: ClientKind::Public,
        grant_types: [GrantType::Password, GrantType::RefreshToken].into(),
        scopes: built_in_scopes(),
        audiences: Vec::new(),
        access_token_ttl: None,
        jwks: None,
    };
    clients::insert(conn, &client, None, true, now).await
}
