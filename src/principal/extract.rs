//! Extractors that authenticate and authorize the caller of a handler.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use grantd_guard::{Refusal, Scope, Scopes, actix::RequiredScopes};

use super::{Denied, app, credential::has_scheme, current, introspector, no_credentials, principal};
use crate::{audit::Method, authority::Authority, http::problem::Problem, ids::SessionId, oauth, users::User};

const ACCOUNT: Scope = Scope::from_static("account");

/// The current user, for routes of the own account: an enabled user, with a credential that has the scope `account`.
pub(crate) struct Me {
    /// The user, read from the database for this request.
    pub(crate) user: Arc<User>,
    /// The session of the token.
    pub(crate) session: Option<SessionId>,
    /// The authority of the user, with all scopes of the user, not only those of the credential.
    pub(crate) authority: Authority,
    /// The scopes of the credential that the user has.
    pub(crate) scopes: Scopes,
}

/// Implements `FromRequest` for a type by an async function.
macro_rules! extractor {
    ($type:ty, $function:ident $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? FromRequest for $type {
            type Error = Problem;
            type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

            fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
                let req = req.clone();
                Box::pin(async move { $function(&req).await })
            }
        }
    };
}
extractor!(Me, me);
extractor!(Permit<S>, permit, S: RequiredScopes);
extractor!(Watcher, watcher);

async fn me(req: &HttpRequest) -> Result<Me, Problem> {
    let app = app(req)?;
    let principal = principal(req, app, None).await?;
    if !principal.scopes().contains(ACCOUNT.as_str()) {
        return Err(Refusal::Scope([ACCOUNT].into_iter().collect()).into());
    }
    let (user, scopes) = current(app, &principal).await?;
    // The subject of a client's own token is the client.
    let Some(user) = user else {
        return Err(Problem::forbidden("this route is for users; the access token is a client's own"));
    };
    let authority = Authority::of(principal.origin(req, app), user.scopes.clone());
    Ok(Me { user, session: principal.session().and_then(SessionId::parse), authority, scopes })
}

impl Me {
    /// Checks the caller again, after the body was read: a body may be slow, and the user disabled meanwhile.
    pub(crate) async fn again(self, req: &HttpRequest) -> Result<Self, Problem> {
        me(req).await
    }

    /// Returns the authority of the credential, which may grant its own scopes only.
    pub(crate) fn narrowed(&self) -> Authority {
        Authority::of(self.authority.origin.clone(), self.scopes.clone())
    }
}

/// Checks that a caller does not use an API key, also not through a token that was issued for it: somebody who finds
/// a key must not be able to turn it into a lasting access.
pub(crate) fn refuse_api_key(by: &Authority) -> Result<(), Problem> {
    match by.origin.method {
        Some(Method::ApiKey(_)) => Err(Problem::forbidden(
            "an API key can neither create nor delete API keys, nor change a password or an email; log in for that",
        )),
        Some(Method::Basic) | None => Ok(()),
    }
}

grantd_guard::scopes! {
    /// List and read users.
    pub(crate) UsersRead = "users:read";
    /// Create, update and delete users.
    pub(crate) UsersWrite = "users:write";
    /// List and read roles and scopes.
    pub(crate) RolesRead = "roles:read";
    /// Create, update and delete roles and scopes.
    pub(crate) RolesWrite = "roles:write";
    /// List and read clients.
    pub(crate) ClientsRead = "clients:read";
    /// Create, update and delete clients.
    pub(crate) ClientsWrite = "clients:write";
    /// List signing keys.
    pub(crate) KeysRead = "keys:read";
    /// Rotate and retire signing keys.
    pub(crate) KeysWrite = "keys:write";
    /// Read the audit log.
    pub(crate) AuditRead = "audit:read";
}

/// A caller with the scopes `S`: an enabled user, or a client. The handler reads the body, and so after this check.
pub(crate) struct Permit<S> {
    /// The caller, and the scopes that it may grant.
    pub(crate) authority: Authority,
    scopes: PhantomData<S>,
}

async fn permit<S: RequiredScopes>(req: &HttpRequest) -> Result<Permit<S>, Problem> {
    let app = app(req)?;
    let principal = principal(req, app, None).await?;
    let (_, scopes) = current(app, &principal).await?;
    if !S::are_in(&scopes) {
        return Err(Refusal::Scope(S::needed()).into());
    }
    Ok(Permit { authority: Authority::of(principal.origin(req, app), scopes), scopes: PhantomData })
}

impl<S: RequiredScopes> Permit<S> {
    /// Checks the caller again, after the body was read: a body may be slow, and the scope removed meanwhile.
    pub(crate) async fn again(self, req: &HttpRequest) -> Result<Self, Problem> {
        permit(req).await
    }
}

/// A caller that may follow the feed of revocations: an access token with the scope `tokens:introspect`, or a
/// confidential client.
pub(crate) struct Watcher;

async fn watcher(req: &HttpRequest) -> Result<Watcher, Problem> {
    let app = app(req)?;
    // Here, Basic has the id and secret of a client.
    if has_scheme(req, "basic") {
        return oauth::confidential_client(app, req).await.map(|_| Watcher).map_err(|error| Problem::of_client(&error));
    }
    match introspector(req, app).await {
        Ok(()) => Ok(Watcher),
        Err(Denied::Refusal(Refusal::NoCredentials)) => Err(no_credentials(req, app)),
        Err(denied) => Err(denied.into()),
    }
}
