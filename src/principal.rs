//! Extractors that authenticate and authorize a request. A handler that takes the caller as an argument cannot skip the
//! check.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderValue},
    web,
};
use grantd_guard::{
    Claims, Refusal, Scope, TokenError,
    actix::{RequiredScopes, bearer_token},
};

use crate::{
    app::App,
    audit::Origin,
    authority::Authority,
    client_address::client_address,
    clients::Client,
    error::Error,
    http::{headers::RequestIdText, problem::Problem},
    ids::{SessionId, UserId},
    names::ClientId,
    oauth,
    users::User,
};

const ACCOUNT: Scope = Scope::from_static("account");
/// The scope that allows to introspect every token.
pub(crate) const INTROSPECT: Scope = Scope::from_static("tokens:introspect");

/// The current user, for routes of the own account: an enabled user, with an access token that has the scope `account`.
pub(crate) struct Me {
    /// The user, read from the database for this request.
    pub(crate) user: Arc<User>,
    /// The session of the token.
    pub(crate) session: SessionId,
    /// The authority of the user, with all scopes of the user, not only those of the token.
    pub(crate) authority: Authority,
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
    let claims = access_token(req, app)?;
    if !claims.scope.contains(ACCOUNT.as_str()) {
        return Err(Refusal::Scope([ACCOUNT].into_iter().collect()).into());
    }
    // A token of the client credentials grant has no session, and its subject is the client.
    let (Some(session), Some(id)) = (claims.sid.as_deref().and_then(SessionId::parse), UserId::parse(&claims.sub))
    else {
        return Err(Problem::forbidden("this route is for users; the access token is a client's own"));
    };
    // The token may be from before the client or user was disabled, so both are checked with each request.
    enabled_client(app, &claims).await?;
    let user = enabled_user(app, id).await?;
    let authority = Authority::of(origin_of(req, app, &claims), user.scopes.clone());
    Ok(Me { user, session, authority })
}

impl Me {
    /// Checks the caller again, after the body was read: a body may be slow, and the user disabled meanwhile.
    pub(crate) async fn again(self, req: &HttpRequest) -> Result<Self, Problem> {
        me(req).await
    }
}

/// Returns the user, unless deleted or disabled.
async fn enabled_user(app: &App, id: UserId) -> Result<Arc<User>, Problem> {
    // From the database, not from a cache: a disabled user is refused by every server at once.
    let user = app.users.read(id).await?;
    Ok(user.filter(|user| !user.disabled).ok_or(Refusal::Token(TokenError::Revoked))?)
}

/// Returns the client that a token was issued to, unless deleted or disabled.
async fn enabled_client(app: &App, claims: &Claims) -> Result<Arc<Client>, Problem> {
    // From the cache, as of the last sync: no statement.
    let client = match claims.client_id.parse::<ClientId>() {
        Ok(id) => app.clients.cached(&id).await?,
        Err(_) => None,
    };
    let client = client.filter(|found| !found.client.disabled).ok_or(Refusal::Token(TokenError::Revoked))?;
    Ok(Arc::clone(&client.client))
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
    let claims = access_token(req, app)?;
    // The token has the scopes of its issue time. A scope that was removed from the client or user since must not count.
    let client = enabled_client(app, &claims).await?;
    let scopes = claims.scope.intersection(&client.scopes);
    let scopes = match UserId::parse(&claims.sub) {
        Some(id) => scopes.intersection(&enabled_user(app, id).await?.scopes),
        None => scopes,
    };
    if !S::are_in(&scopes) {
        return Err(Refusal::Scope(S::needed()).into());
    }
    Ok(Permit { authority: Authority::of(origin_of(req, app, &claims), scopes), scopes: PhantomData })
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
    if has_scheme(req, "basic") {
        return oauth::confidential_client(app, req).await.map(|_| Watcher).map_err(|error| Problem::of_client(&error));
    }
    match introspector(req, app) {
        Ok(()) => Ok(Watcher),
        Err(Refusal::NoCredentials) => Err(no_token(req).or_basic()),
        Err(refusal) => Err(refusal.into()),
    }
}

fn has_scheme(req: &HttpRequest, scheme: &str) -> bool {
    let value = req.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    value.split(|byte| *byte == b' ').next().is_some_and(|found| found.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// Schemes that an error may name. Any other first word may be a token that was sent without a scheme.
const KNOWN_SCHEMES: [&str; 8] = ["Basic", "Bearer", "Digest", "DPoP", "JWT", "Negotiate", "NTLM", "Token"];

/// Returns the scheme of an `Authorization` header, if it is a well-known one.
pub(crate) fn known_scheme(authorization: &HeaderValue) -> Option<&'static str> {
    let first = authorization.as_bytes().split(|byte| *byte == b' ').next()?;
    KNOWN_SCHEMES.into_iter().find(|scheme| first.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// Returns the response to a request without an access token. It names what the `Authorization` header has instead, and never the credentials in it.
fn no_token(req: &HttpRequest) -> Problem {
    let value = req.headers().get(AUTHORIZATION);
    let problem = Problem::from(Refusal::NoCredentials);
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

/// Returns whether a request has an `Authorization: Bearer` header, valid or not.
pub(crate) fn has_bearer(req: &HttpRequest) -> bool {
    has_scheme(req, "bearer")
}

/// Checks that the request has a token with the scope `tokens:introspect`.
pub(crate) fn introspector(req: &HttpRequest, app: &App) -> Result<(), Refusal> {
    let claims = claims(req, app)?;
    if claims.scope.contains(INTROSPECT.as_str()) {
        Ok(())
    } else {
        Err(Refusal::Scope([INTROSPECT].into_iter().collect()))
    }
}

fn app(req: &HttpRequest) -> Result<&web::Data<App>, Error> {
    req.app_data().ok_or_else(|| Error::Internal("the routes have no App".to_owned()))
}

/// Returns the claims of a request's access token, or the response without one.
fn access_token(req: &HttpRequest, app: &App) -> Result<Arc<Claims>, Problem> {
    claims(req, app).map_err(|refusal| match refusal {
        Refusal::NoCredentials => no_token(req),
        refusal => refusal.into(),
    })
}

/// Verifies the access token of a request, and returns its claims.
pub(crate) fn claims(req: &HttpRequest, app: &App) -> Result<Arc<Claims>, Refusal> {
    let token = bearer_token(req.headers(), req.query_string())?.ok_or(Refusal::NoCredentials)?;
    Ok(app.guard.verify(token, app.now().timestamp())?)
}

/// Returns the origin of a request with this token: the actor, the client and the source.
fn origin_of(req: &HttpRequest, app: &App, claims: &Claims) -> Origin {
    let (actor, client_id) = (Some(claims.sub.clone()), Some(claims.client_id.clone()));
    Origin { actor, client_id, ..origin(req, app) }
}

/// Returns the source of a request, for the audit log, without actor and client.
pub(crate) fn origin(req: &HttpRequest, app: &App) -> Origin {
    Origin {
        actor: None,
        client_id: None,
        address: client_address(req, &app.config.proxies).map(|address| address.to_string()),
        request_id: req.extensions().get::<RequestIdText>().map(|id| id.0.clone()),
    }
}
