//! The first start on an empty database: creates the built-in scopes and roles, the client `default` and an administrator.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use grantd_guard::{Scope, Scopes};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    clients::{self, ClientKind, GrantType, NewClient},
    config::BootstrapConfig,
    error::Error,
    names::{ClientId, Description, RoleName, Username},
    passwords::{NewPassword, Passwords, Personal, Turn},
    roles::{self, BUILT_IN_SCOPES, RoleRow},
    secret::{self, Password},
    store::{Conn, Store},
    users::{self, NewUser},
};

/// 24 characters of base62: 142 bits.
const GENERATED_LENGTH: usize = 24;

/// The result of a first start.
#[derive(Debug)]
pub struct FirstStart {
    /// The administrator's name.
    pub admin_username: Username,
    /// Whether an administrator was created.
    pub admin_made: bool,
    /// The administrator's password, if it was generated. It is not shown again.
    pub admin_password: Option<SecretString>,
    /// The key file, if it was generated.
    pub key_file: Option<PathBuf>,
}

/// Creates the objects that every database needs, unless they exist. Of several servers that start together, one creates them.
pub(crate) async fn first_start(
    store: &Store,
    passwords: &Passwords,
    config: &BootstrapConfig,
    now: DateTime<Utc>,
) -> Result<Option<FirstStart>, Error> {
    if !roles::all_scopes(&mut store.read().await?).await?.is_empty() {
        return Ok(None);
    }
    let (mut generated, mut password_hash) = (None, None);
    if let Some(new) = given_password(passwords, config)? {
        password_hash = Some(passwords.hash_new(&new, personal(config), &Turn::known()).await?);
    } else if config.generate_password {
        let text = generate_password()?;
        // No rules: it is random.
        password_hash = Some(passwords.hash(&Password::presented("password", text.expose_secret())?).await?);
        generated = Some(text);
    }
    let admin = password_hash.map(|password_hash| NewUser {
        username: config.admin_username.clone(),
        email: None,
        display_name: None,
        password_hash,
        roles: vec![RoleName::admin()],
    });
    let made = store
        .transact(async |tx| {
            if !insert_scopes_and_roles(tx, now).await? {
                return Ok::<_, Error>(false);
            }
            insert_default_client(tx, now).await?;
            if let Some(new) = &admin {
                users::create_first(tx, new, now).await?;
            }
            Ok(true)
        })
        .await?;
    Ok(made.then(|| FirstStart {
        admin_username: config.admin_username.clone(),
        admin_made: admin.is_some(),
        admin_password: generated,
        key_file: None,
    }))
}

fn generate_password() -> Result<SecretString, Error> {
    let text = secret::generate("")?;
    Ok(text.expose_secret()[..GENERATED_LENGTH].into())
}

/// Checks the administrator's password in the settings, if there is one.
pub(crate) async fn check_password(passwords: &Passwords, config: &BootstrapConfig) -> Result<(), Error> {
    match given_password(passwords, config)? {
        Some(new) => passwords.check_new(&new, personal(config), &Turn::known()).await,
        None => Ok(()),
    }
}

fn given_password(passwords: &Passwords, config: &BootstrapConfig) -> Result<Option<NewPassword>, Error> {
    let given = config.admin_password.as_ref();
    Ok(given.map(|text| passwords.new_password("GRANTD_ADMIN_PASSWORD", text.expose_secret())).transpose()?)
}

fn personal(config: &BootstrapConfig) -> Personal<'_> {
    Personal { username: &config.admin_username, email: None, display_name: None }
}

fn built_in_scopes() -> Scopes {
    BUILT_IN_SCOPES.iter().map(|(name, _)| Scope::from_static(name)).collect()
}

/// Returns `false` if another server has just inserted them.
async fn insert_scopes_and_roles(conn: &mut Conn, now: DateTime<Utc>) -> Result<bool, Error> {
    for (name, description) in BUILT_IN_SCOPES {
        let description = description.parse::<Description>()?;
        if !roles::insert_scope(conn, &Scope::from_static(name), Some(&description), true, now).await? {
            return Ok(false);
        }
    }
    let built_in = [
        (RoleName::admin(), "Administrator: all scopes", built_in_scopes(), true),
        (RoleName::member(), "Every user", [Scope::from_static("account")].into_iter().collect(), false),
    ];
    for (name, description, scopes, every_scope) in &built_in {
        let description = description.parse::<Description>()?;
        let role = RoleRow { name, description: Some(&description), scopes, every_scope: *every_scope, built_in: true };
        roles::put_role_row(conn, &role, now).await?;
    }
    Ok(true)
}

async fn insert_default_client(conn: &mut Conn, now: DateTime<Utc>) -> Result<(), Error> {
    let client = NewClient {
        client_id: ClientId::default_client(),
        name: "Default client".parse()?,
        kind: ClientKind::Public,
        grant_types: [GrantType::Password, GrantType::RefreshToken].into(),
        scopes: built_in_scopes(),
        audiences: Vec::new(),
        access_token_ttl: None,
        jwks: None,
        forwards_address: false,
    };
    clients::insert(conn, &client, None, true, now).await
}
