//! What tests need to be there: made by the server's own functions, as the command line makes it.

use std::time::Duration;

use grantd::{
    authority::Authority,
    clients::{self, ClientKind, ClientPatch, Jwks},
    error::Error,
    passwords::Password,
    roles,
    users::{self, NewUser, User, UserPatch},
};
use secrecy::ExposeSecret as _;

use super::TestServer;

/// The password of users that a test makes.
pub(crate) const PASSWORD: &str = "a password of maria's";

/// A client to be made.
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
        }
    }
}

impl TestServer {
    /// Makes scopes.
    pub(crate) async fn create_scopes(&self, names: &'static [&'static str]) {
        self.within(async move |app, now| {
            for name in names {
                let name = name.parse().unwrap();
                roles::put_scope(&app, &name, Some("of a test"), &Authority::system(), now).await.unwrap();
            }
        })
        .await;
    }

    /// Makes a role, or gives it other scopes.
    pub(crate) async fn put_role(&self, name: &'static str, scopes: &'static str) {
        self.within(async move |app, now| {
            let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
            roles::put_role(&app, &name, None, &scopes, &Authority::system(), now).await.unwrap();
        })
        .await;
    }

    /// Makes a user with the password [`PASSWORD`] and no e-mail.
    pub(crate) async fn create_user(&self, username: &str, roles: &[&str]) -> User {
        self.try_create_user(username, None, PASSWORD, roles).await.unwrap()
    }

    /// Makes a user, or says why not.
    pub(crate) async fn try_create_user(
        &self,
        username: &str,
        email: Option<&str>,
        password: &str,
        roles: &[&str],
    ) -> Result<User, Error> {
        let new = NewUser {
            username: username.parse().unwrap(),
            email: email.map(|email| email.parse().unwrap()),
            display_name: None,
            password: Password::chosen("password", password).unwrap(),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        };
        self.within(async move |app, now| users::create(&app, &new, &Authority::system(), now).await).await
    }

    /// Disables or enables a user.
    pub(crate) async fn set_disabled(&self, user: &User, disabled: bool) {
        let id = user.id;
        self.within(async move |app, now| {
            let patch = UserPatch { disabled: Some(disabled), ..UserPatch::default() };
            users::patch(&app, id, &patch, &Authority::system(), now).await.unwrap()
        })
        .await;
    }

    /// Gives a user a new password.
    pub(crate) async fn set_password(&self, user: &User, password: &str) {
        let (id, password) = (user.id, Password::chosen("password", password).unwrap());
        self.within(async move |app, now| {
            users::set_password(&app, id, &password, &Authority::system(), now).await.unwrap()
        })
        .await;
    }

    /// Gives a user other roles.
    pub(crate) async fn set_roles(&self, user: &User, roles: &[&str]) {
        let (id, roles) = (user.id, roles.iter().map(|role| role.parse().unwrap()).collect::<Vec<_>>());
        self.within(async move |app, now| users::set_roles(&app, id, &roles, &Authority::system(), now).await.unwrap())
            .await;
    }

    /// Makes a client; gives its secret, or the empty text where it has none.
    pub(crate) async fn create_client(&self, new: NewClient) -> String {
        self.try_create_client(new).await.unwrap()
    }

    /// Makes a client, or says why not.
    pub(crate) async fn try_create_client(&self, new: NewClient) -> Result<String, Error> {
        let new = clients::NewClient {
            client_id: new.id.parse().unwrap(),
            name: "A client of a test".to_owned(),
            kind: if new.confidential { ClientKind::Confidential } else { ClientKind::Public },
            grant_types: new.grants.iter().map(|grant| grant.parse().unwrap()).collect(),
            scopes: new.scopes.parse().unwrap(),
            audiences: new.audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            access_token_ttl: new.access_token_ttl.map(Duration::from_secs),
            jwks: new.jwks.map(|json| Jwks::parse(json).unwrap()),
        };
        let made =
            self.within(async move |app, now| clients::create(&app, &new, &Authority::system(), now).await).await;
        made.map(|(_, secret)| secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default())
    }

    /// Disables or enables a client.
    pub(crate) async fn set_client_disabled(&self, id: &str, disabled: bool) {
        let id = id.to_owned();
        self.within(async move |app, now| {
            let patch = ClientPatch { disabled: Some(disabled), ..ClientPatch::default() };
            clients::patch(&app, &id, &patch, &Authority::system(), now).await.unwrap();
        })
        .await;
    }
}
