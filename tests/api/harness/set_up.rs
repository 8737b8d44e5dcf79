//! Set-up of tests: users, roles, scopes and clients, created with the functions of the server, as the command line does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use grantd::{
    app::App,
    audit::Origin,
    authority::Authority,
    clients::{self, ClientKind, ClientPatch, Jwks},
    config::Algorithm,
    error::Error,
    keys::SigningKey,
    roles,
    secret::{self, CLIENT_SECRET, Password},
    users::{self, NewUser, User, UserPatch},
};
use secrecy::ExposeSecret as _;

use super::TestServer;

/// The password of users that tests create.
pub(crate) const PASSWORD: &str = "a password of maria's";

/// Rotates the signing key.
pub(crate) async fn rotate_keys(
    app: &App,
    algorithm: Option<Algorithm>,
    immediately: bool,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<SigningKey, Error> {
    let new = app.keys.generate(algorithm).await?;
    app.write(async |tx| app.keys.rotate(tx, &new, immediately, origin, now).await).await
}

/// Retires a signing key.
pub(crate) async fn retire_key(app: &App, kid: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let new = app.keys.generate(None).await?;
    app.write(async |tx| app.keys.retire(tx, kid, &new, &Origin::system(), now).await).await
}

/// A client to create.
#[derive(Clone)]
pub(crate) struct NewClient {
    pub(crate) id: &'static str,
    pub(crate) confidential: bool,
    pub(crate) grants: &'static [&'static str],
    pub(crate) scopes: &'static str,
    pub(crate) audiences: &'static [&'static str],
    pub(crate) access_token_ttl: Option<u64>,
    /// A JWK set.
    pub(crate) jwks: Option<&'static str>,
    pub(crate) forwards_address: bool,
}

/// A confidential client with both grants and the scope `account`.
impl Default for NewClient {
    fn default() -> Self {
        Self {
            id: "back-office",
            confidential: true,
            grants: &["password", "refresh_token"],
            scopes: "account",
            audiences: &[],
            access_token_ttl: None,
            jwks: None,
            forwards_address: false,
        }
    }
}

impl TestServer {
    /// Creates scopes.
    pub(crate) async fn create_scopes(&self, names: &'static [&'static str]) {
        self.within(async move |app, now| {
            let (by, description) = (Authority::system(), "of a test".parse().unwrap());
            for name in names {
                let name = name.parse().unwrap();
                app.write(async |tx| roles::put_scope(tx, &name, Some(&description), &by, now).await).await.unwrap();
            }
        })
        .await;
    }

    /// Creates a role, or replaces its scopes.
    pub(crate) async fn put_role(&self, name: &'static str, scopes: &'static str) {
        self.within(async move |app, now| {
            let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
            let by = Authority::system();
            app.write(async |tx| roles::put_role(tx, &name, None, &scopes, &by, now).await).await.unwrap();
        })
        .await;
    }

    /// Creates a user with the password [`PASSWORD`] and no e-mail.
    pub(crate) async fn create_user(&self, username: &str, roles: &[&str]) -> User {
        self.try_create_user(username, None, PASSWORD, roles).await.unwrap()
    }

    /// Creates a user, or returns the error.
    pub(crate) async fn try_create_user(
        &self,
        username: &str,
        email: Option<&str>,
        password: &str,
        roles: &[&str],
    ) -> Result<User, Error> {
        let password = Password::presented("password", password).unwrap();
        let mut new = NewUser {
            username: username.parse().unwrap(),
            email: email.map(|email| email.parse().unwrap()),
            display_name: None,
            password_hash: String::new(),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        };
        self.within(async move |app, now| {
            new.password_hash = app.passwords.hash(&password).await?;
            app.write(async |tx| users::create(tx, &new, &Authority::system(), now).await).await
        })
        .await
    }

    /// Disables or enables a user.
    pub(crate) async fn set_disabled(&self, user: &User, disabled: bool) {
        let id = user.id;
        self.within(async move |app, now| {
            let (patch, by) = (UserPatch::disabled(disabled), Authority::system());
            app.write(async |tx| users::patch(tx, id, &patch, &by, now).await).await.unwrap()
        })
        .await;
    }

    /// Sets the password of a user.
    pub(crate) async fn set_password(&self, user: &User, password: &str) {
        let (id, password) = (user.id, Password::presented("password", password).unwrap());
        self.within(async move |app, now| {
            let (hash, by) = (app.passwords.hash(&password).await.unwrap(), Authority::system());
            app.write(async |tx| users::set_password(tx, id, &hash, &by, now).await).await.unwrap()
        })
        .await;
    }

    /// Replaces the roles of a user.
    pub(crate) async fn set_roles(&self, user: &User, roles: &[&str]) {
        let (id, roles) = (user.id, roles.iter().map(|role| role.parse().unwrap()).collect::<Vec<_>>());
        self.within(async move |app, now| {
            let by = Authority::system();
            app.write(async |tx| users::set_roles(tx, id, &roles, &by, now).await).await.unwrap()
        })
        .await;
    }

    /// Creates a client, and returns its secret, or the empty text if it has none.
    pub(crate) async fn create_client(&self, new: NewClient) -> String {
        self.try_create_client(new).await.unwrap()
    }

    /// Creates a client, or returns the error.
    pub(crate) async fn try_create_client(&self, new: NewClient) -> Result<String, Error> {
        let new = clients::NewClient {
            client_id: new.id.parse().unwrap(),
            name: "A client of a test".parse().unwrap(),
            kind: if new.confidential { ClientKind::Confidential } else { ClientKind::Public },
            grant_types: new.grants.iter().map(|grant| grant.parse().unwrap()).collect(),
            scopes: new.scopes.parse().unwrap(),
            audiences: new.audiences.iter().map(|audience| audience.parse().unwrap()).collect(),
            access_token_ttl: new.access_token_ttl.map(Duration::from_secs),
            jwks: new.jwks.map(|json| Jwks::parse(json).unwrap()),
            forwards_address: new.forwards_address,
        };
        let secret = (new.kind == ClientKind::Confidential).then(|| secret::generate(CLIENT_SECRET).unwrap());
        let given = secret.clone();
        let created = self.within(async move |app, now| {
            let (by, secret) = (Authority::system(), given.as_ref());
            app.write(async |tx| clients::create(tx, &new, secret, &by, now).await).await
        });
        created.await.map(|_| secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default())
    }

    /// Disables or enables a client.
    pub(crate) async fn set_client_disabled(&self, id: &str, disabled: bool) {
        let id = id.parse().unwrap();
        self.within(async move |app, now| {
            let (patch, by) = (ClientPatch::disabled(disabled), Authority::system());
            app.write(async |tx| clients::patch(tx, &id, &patch, &by, now).await).await.unwrap();
        })
        .await;
    }
}
