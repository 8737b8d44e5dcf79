//! The principal of a request: who it acts for, and what it may do. A handler that takes it as an argument cannot skip the
//! check.

mod basic;
mod credential;
mod extract;

use std::{borrow::Cow, sync::Arc};

use actix_web::{HttpMessage, HttpRequest, http::header::AUTHORIZATION, web};
use grantd_guard::{ApiKeyError, Claims, Refusal, Scope, Scopes, TokenError};
use secrecy::{ExposeSecret as _, SecretString};

use self::credential::{Credential, credential, has_scheme};
pub(crate) use self::{
    credential::known_scheme,
    extract::{
        AuditRead, ClientsRead, ClientsWrite, KeysRead, KeysWrite, Me, Permit, RolesRead, RolesWrite, UsersRead,
        UsersWrite, Watcher, refuse_api_key,
    },
};
use crate::{
    api_keys::{self, OwnedKey},
    app::App,
    audit::{Method, Origin},
    client_address::client_address,
    clients::Client,
    error::Error,
    http::{headers::RequestIdText, problem::Problem},
    ids::{ApiKeyId, UserId},
    names::ClientId,
    oauth::OAuthError,
    users::User,
};

/// The scope that allows to introspect every token.
pub(crate) const INTROSPECT: Scope = Scope::from_static("tokens:introspect");

/// Who a request acts for, and how it proved that.
#[derive(Clone)]
pub(crate) enum Principal {
    /// An access token, of a user or of a client.
    Token(Arc<Claims>),
    /// An API key, of a user.
    ApiKey(Arc<OwnedKey>),
    /// A user, with name and password.
    Basic(Arc<User>),
}

/// The id of the principal and how it authenticated, in the extensions of the request, for the log.
#[derive(Clone)]
pub(crate) struct Acting {
    pub(crate) subject: String,
    pub(crate) method: &'static str,
}

impl Principal {
    /// Returns the id of the user or client.
    pub(crate) fn subject(&self) -> Cow<'_, str> {
        match self {
            Self::Token(claims) => (&*claims.sub).into(),
            Self::ApiKey(key) => key.owner.id.to_string().into(),
            Self::Basic(user) => user.id.to_string().into(),
        }
    }

    /// Returns the name of the user. `None`: it is a client.
    pub(crate) fn username(&self) -> Option<&str> {
        match self {
            Self::Token(claims) => claims.username.as_deref(),
            Self::ApiKey(key) => Some(key.owner.username.as_str()),
            Self::Basic(user) => Some(user.username.as_str()),
        }
    }

    /// Returns the client that the token was issued to.
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Token(claims) => Some(&claims.client_id),
            Self::ApiKey(_) | Self::Basic(_) => None,
        }
    }

    /// Returns the session of the token.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Token(claims) => claims.sid.as_deref(),
            Self::ApiKey(_) | Self::Basic(_) => None,
        }
    }

    /// Returns the scopes of the credential.
    pub(crate) fn scopes(&self) -> Cow<'_, Scopes> {
        match self {
            Self::Token(claims) => Cow::Borrowed(&claims.scope),
            Self::ApiKey(key) => Cow::Owned(key.scopes()),
            Self::Basic(user) => Cow::Borrowed(&user.scopes),
        }
    }

    /// Returns how it authenticated; `None` for a token of a login or of a client.
    fn method(&self) -> Option<Method> {
        match self {
            // A login has a time. The token of a user without one was issued for an API key, whose id is its `sid`.
            Self::Token(claims) if claims.auth_time.is_none() => {
                claims.sid.as_deref().and_then(ApiKeyId::parse).map(Method::ApiKey)
            }
            Self::Token(_) => None,
            Self::ApiKey(key) => Some(Method::ApiKey(key.key.id)),
            Self::Basic(_) => Some(Method::Basic),
        }
    }

    /// Returns the origin of what it does: the actor, the client and the source.
    fn origin(&self, req: &HttpRequest, app: &App) -> Origin {
        let (actor, client_id) = (Some(self.subject().into_owned()), self.client_id().map(str::to_owned));
        Origin { actor, client_id, method: self.method(), ..origin(req, app) }
    }
}

/// Why a token or an API key is refused. The two error languages translate it.
pub(crate) enum Denied {
    /// The credential is missing or invalid.
    Refusal(Refusal),
    /// It could not be verified.
    Error(Error),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refusal(refusal) => refusal.into(),
            Denied::Error(error) => error.into(),
        }
    }
}

impl From<Denied> for OAuthError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refusal(refusal) => refusal.into(),
            Denied::Error(error) => error.into(),
        }
    }
}

/// Verifies the credential of a request. `audience`: the one to accept; `None`: those of the server's own routes.
pub(crate) async fn principal(req: &HttpRequest, app: &App, audience: Option<&str>) -> Result<Principal, Problem> {
    let principal = match credential(req, app.config.credentials.api_key_query).map_err(Refusal::from)? {
        Some(Credential::Basic { username, password }) if app.config.credentials.basic => {
            // A proxy asks about requests to another service, which knows the sites that may send them.
            if !is_verify(req) && basic::is_cross_site(req, app) {
                return Err(Problem::forbidden("a page of another site may not use a stored password; send a token"));
            }
            Principal::Basic(basic::verify(app, req, &username, &password).await?)
        }
        Some(Credential::Basic { .. }) | None => return Err(no_credentials(req, app)),
        Some(Credential::Token(token)) => access_token(app, &token, audience)?,
        Some(Credential::ApiKey(key)) => api_key(app, &key, audience).await?,
    };
    acts(req, &principal);
    Ok(principal)
}

/// Notes who the request acts for, for the log.
fn acts(req: &HttpRequest, principal: &Principal) {
    let method = principal.method().map_or("token", Method::as_str);
    req.extensions_mut().insert(Acting { subject: principal.subject().into_owned(), method });
}

fn access_token(app: &App, token: &str, audience: Option<&str>) -> Result<Principal, Denied> {
    let now = app.now().timestamp();
    let verdict = match audience {
        Some(audience) => app.guard.verify_for(&[audience.to_owned()], token, now),
        None => app.guard.verify(token, now),
    };
    Ok(Principal::Token(verdict.map_err(Refusal::from)?))
}

async fn api_key(app: &App, key: &SecretString, audience: Option<&str>) -> Result<Principal, Denied> {
    let now = app.now();
    let found = app.api_keys.verify(key.expose_secret(), now).await.map_err(Error::from)?.map_err(Refusal::from)?;
    let own = [app.issuer.as_str(), app.audience.as_str()];
    let accepted = audience.as_ref().map_or(&own[..], std::slice::from_ref);
    if !found.is_for(accepted, &app.audience) {
        return Err(Refusal::from(ApiKeyError::WrongAudience).into());
    }
    note_use(app, &found, now).await;
    Ok(Principal::ApiKey(found))
}

/// Writes the time of the use of a key, at most once a minute, whether or not that succeeds: with a slow database, not each
/// request must wait for it. The request does not fail if that fails.
async fn note_use(app: &App, key: &OwnedKey, now: chrono::DateTime<chrono::Utc>) {
    let id = key.key.id;
    let is_due = key.key.last_used_at.is_none_or(|at| at <= now - api_keys::USE_INTERVAL);
    if !is_due || !app.key_uses.is_first(&id, now) {
        return;
    }
    let noted = async { api_keys::note_use(&mut app.store.write().await?, id, now).await };
    if let Err(error) = noted.await {
        tracing::warn!(%error, api_key = %id, "the time of the last use of an API key was not written");
    }
}

/// Returns the user of a principal as of now, if it is one, and the scopes that it has now.
///
/// A token has the scopes of its issue time. One that was removed from the client or user since must not count.
async fn current(app: &App, principal: &Principal) -> Result<(Option<Arc<User>>, Scopes), Denied> {
    let claims = match principal {
        Principal::Token(claims) => claims,
        // Both were read for this request.
        Principal::ApiKey(key) => return Ok((Some(Arc::clone(&key.owner)), key.scopes())),
        Principal::Basic(user) => return Ok((Some(Arc::clone(user)), user.scopes.clone())),
    };
    let mut scopes = claims.scope.intersection(&enabled_client(app, &claims.client_id).await?.scopes);
    // Another client got the token by an exchange.
    if let Some(client) = &claims.session_client_id {
        scopes = scopes.intersection(&enabled_client(app, client).await?.scopes);
    }
    match UserId::parse(&claims.sub) {
        Some(id) => {
            let user = enabled_user(app, id).await?;
            let scopes = scopes.intersection(&user.scopes);
            Ok((Some(user), scopes))
        }
        // Another client may have got the token by an exchange: the subject must be enabled, too.
        None if claims.sub != claims.client_id => {
            let subject = enabled_client(app, &claims.sub).await?;
            Ok((None, scopes.intersection(&subject.scopes)))
        }
        None => Ok((None, scopes)),
    }
}

/// Returns the user, unless deleted or disabled.
async fn enabled_user(app: &App, id: UserId) -> Result<Arc<User>, Denied> {
    // From the database, not from a cache: a disabled user is refused by every server at once.
    let user = app.users.read(id).await.map_err(Error::from)?;
    Ok(user.filter(|user| !user.disabled).ok_or(Refusal::Token(TokenError::Revoked))?)
}

/// Returns a client, unless deleted or disabled.
async fn enabled_client(app: &App, id: &str) -> Result<Arc<Client>, Denied> {
    // From the cache, as of the last sync: no statement.
    let client = match id.parse::<ClientId>() {
        Ok(id) => app.clients.cached(&id).await.map_err(Error::from)?,
        Err(_) => None,
    };
    let client = client.filter(|found| !found.client.disabled).ok_or(Refusal::Token(TokenError::Revoked))?;
    Ok(Arc::clone(&client.client))
}

/// Checks that the request has a token or an API key with the scope `tokens:introspect`.
pub(crate) async fn introspector(req: &HttpRequest, app: &App) -> Result<(), Denied> {
    let principal = match credential(req, app.config.credentials.api_key_query).map_err(Refusal::from)? {
        Some(Credential::Token(token)) => access_token(app, &token, None)?,
        Some(Credential::ApiKey(key)) => api_key(app, &key, None).await?,
        Some(Credential::Basic { .. }) | None => return Err(Refusal::NoCredentials.into()),
    };
    acts(req, &principal);
    let (_, scopes) = current(app, &principal).await?;
    if scopes.contains(INTROSPECT.as_str()) {
        Ok(())
    } else {
        Err(Refusal::Scope([INTROSPECT].into_iter().collect()).into())
    }
}

/// Returns whether a request has a token or an API key, valid or not.
pub(crate) fn has_token_or_key(req: &HttpRequest, app: &App) -> bool {
    let in_query =
        || app.config.credentials.api_key_query && credential::keys_in_query(req.query_string()).next().is_some();
    has_scheme(req, "bearer") || req.headers().contains_key(credential::X_API_KEY) || in_query()
}

fn is_verify(req: &HttpRequest) -> bool {
    req.match_pattern().as_deref() == Some("/verify")
}

/// Returns whether Basic has the id and secret of a client at this route.
fn is_for_clients(req: &HttpRequest) -> bool {
    matches!(req.match_pattern().as_deref(), Some("/introspect" | "/revocations"))
}

/// Returns the response to a request without credentials. It names what the `Authorization` header has instead, and never
/// the credentials in it.
fn no_credentials(req: &HttpRequest, app: &App) -> Problem {
    let value = req.headers().get(AUTHORIZATION);
    let problem = Problem::from(Refusal::NoCredentials);
    let problem = if is_for_clients(req) {
        problem.or_basic_of_clients()
    } else if app.config.credentials.basic {
        problem.or_basic_of_users()
    } else {
        problem
    };
    problem.with_detail(match value.map(known_scheme) {
        None => "no access token was sent; send one as `Authorization: Bearer TOKEN`".into(),
        Some(None) => {
            "the Authorization header does not have the scheme Bearer; send `Authorization: Bearer TOKEN`".into()
        }
        Some(Some(found)) => {
            format!("the Authorization header has the scheme {found}; send `Authorization: Bearer TOKEN`").into()
        }
    })
}

fn app(req: &HttpRequest) -> Result<&web::Data<App>, Error> {
    req.app_data().ok_or_else(|| Error::Internal("the routes have no App".to_owned()))
}

/// Returns the source of a request, for the audit log, without actor and client.
pub(crate) fn origin(req: &HttpRequest, app: &App) -> Origin {
    Origin {
        actor: None,
        client_id: None,
        address: client_address(req, &app.config.proxies).map(|address| address.to_string()),
        request_id: req.extensions().get::<RequestIdText>().map(|id| id.0.clone()),
        method: None,
    }
}
