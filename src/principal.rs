//! Who a request acts for. A handler's arguments say what it needs; a check that is forgotten does not compile.

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
/// To see what is true of every token.
pub(crate) const INTROSPECT: Scope = Scope::from_static("tokens:introspect");

/// A user who acts on the own account: an access token with the scope `account`, of a user who is not disabled.
pub(crate) struct Me {
    /// As the database has it now.
    pub(crate) user: Arc<User>,
    /// That of the token.
    pub(crate) session: SessionId,
    /// Over the own account everybody has all of it.
    pub(crate) authority: Authority,
}

/// Makes a type an extractor by a function that returns it.
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
    // A client's own token names no session, and its subject is no user.
    let (Some(session), Some(id)) = (claims.sid.as_deref().and_then(SessionId::parse), UserId::parse(&claims.sub))
    else {
        return Err(Problem::forbidden("this route is for users; the access token is a client's own"));
    };
    enabled_client(app, &claims).await?;
    let user = enabled_user(app, id).await?;
    let authority = Authority::of(origin_of(req, app, &claims), user.scopes.clone());
    Ok(Me { user, session, authority })
}

impl Me {
    /// Looks at the caller again: a body may take its time, and the caller may have lost the account meanwhile.
    pub(crate) async fn again(self, req: &HttpRequest) -> Result<Self, Problem> {
        me(req).await
    }
}

/// Returns the user, unless deleted or disabled.
async fn enabled_user(app: &App, id: UserId) -> Result<Arc<User>, Problem> {
    let user = app.users.read(id).await?;
    Ok(user.filter(|user| !user.disabled).ok_or(Refusal::Token(TokenError::Revoked))?)
}

/// Returns the client that a token was issued to, unless deleted or disabled. Its revocation may not have reached this server.
async fn enabled_client(app: &App, claims: &Claims) -> Result<Arc<Client>, Problem> {
    let client = match claims.client_id.parse::<ClientId>() {
        Ok(id) => app.clients.cached(&id).await?,
        Err(_) => None,
    };
    let client = client.filter(|found| !found.client.disabled).ok_or(Refusal::Token(TokenError::Revoked))?;
    Ok(Arc::clone(&client.client))
}

grantd_guard::scopes! {
    /// See users.
    pub(crate) UsersRead = "users:read";
    /// Make, change and delete users.
    pub(crate) UsersWrite = "users:write";
    /// See roles and scopes.
    pub(crate) RolesRead = "roles:read";
    /// Make, change and delete roles and scopes.
    pub(crate) RolesWrite = "roles:write";
    /// See clients.
    pub(crate) ClientsRead = "clients:read";
    /// Make, change and delete clients.
    pub(crate) ClientsWrite = "clients:write";
    /// See the signing keys.
    pub(crate) KeysRead = "keys:read";
    /// Change the signing keys.
    pub(crate) KeysWrite = "keys:write";
    /// See what happened.
    pub(crate) AuditRead = "audit:read";
}

/// Whoever has the scopes `S`, a user who is not disabled or a client. The body is looked at by the handler, and thus later.
pub(crate) struct Permit<S> {
    /// Who it is, and what they may give to others.
    pub(crate) authority: Authority,
    scopes: PhantomData<S>,
}

async fn permit<S: RequiredScopes>(req: &HttpRequest) -> Result<Permit<S>, Problem> {
    let app = app(req)?;
    let claims = access_token(req, app)?;
    // A scope that was removed from the client or the user is still in the token, and counts no more.
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
    /// Looks at the caller again: a body may take its time, and the caller may have lost the scope meanwhile.
    pub(crate) async fn again(self, req: &HttpRequest) -> Result<Self, Problem> {
        permit(req).await
    }
}

/// Who may see what is true of every token: an access token with the scope `tokens:introspect`, or a confidential client.
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

/// The request has no access token. Says what its `Authorization` header has instead, and never the credentials in it.
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

/// Whether a request has an `Authorization: Bearer` header, whatever is in it.
pub(crate) fn has_bearer(req: &HttpRequest) -> bool {
    has_scheme(req, "bearer")
}

/// Whether the request has a token with the scope `tokens:introspect`.
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

/// What the access token of a request says.
pub(crate) fn claims(req: &HttpRequest, app: &App) -> Result<Arc<Claims>, Refusal> {
    let token = bearer_token(req.headers(), req.query_string())?.ok_or(Refusal::NoCredentials)?;
    Ok(app.guard.verify(token, app.now().timestamp())?)
}

/// Whose token a request has, and from where it comes.
fn origin_of(req: &HttpRequest, app: &App, claims: &Claims) -> Origin {
    let (actor, client_id) = (Some(claims.sub.clone()), Some(claims.client_id.clone()));
    Origin { actor, client_id, ..origin(req, app) }
}

/// From where a request comes, for the audit log.
pub(crate) fn origin(req: &HttpRequest, app: &App) -> Origin {
    Origin {
        actor: None,
        client_id: None,
        address: client_address(req, &app.config.proxies).map(|address| address.to_string()),
        request_id: req.extensions().get::<RequestIdText>().map(|id| id.0.clone()),
    }
}
