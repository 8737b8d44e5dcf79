//! Routes and middleware.

pub(crate) mod body;
pub(crate) mod cache;
mod docs;
pub(crate) mod headers;
mod health;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod problem;
mod problems;
pub(crate) mod query;
pub(crate) mod rate_limit;
mod refuse;
mod request_log;
mod root;
pub(crate) mod tls;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, RwLock},
};

use actix_cors::Cors;
use actix_web::{
    App as ActixApp, Error, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Route, Scope,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    guard,
    http::{
        StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::{Condition, from_fn},
    web,
};

pub(crate) use self::root::nothing_at;
use self::{
    cache::{Cached, Document},
    problem::Problem,
};
use crate::{
    api_keys,
    app::App,
    audit, clients,
    config::HttpConfig,
    keys,
    metrics::{Requests, Route as Matched},
    oauth::{self, OAuthError},
    revocations, roles, sessions, users,
};

/// Registers all routes. Frequent ones come first: actix compares them in order, and patterns are slower than fixed paths.
fn routes(routes: &mut web::ServiceConfig, known: &mut Known<'_>, metrics_apart: bool) {
    let mut at = |path, methods| known.at("", path, methods);
    routes
        // Tokens.
        .service(at("/token", vec![post(oauth::token::handle)]))
        .service(at("/introspect", vec![post(oauth::introspect::handle)]))
        .service(at("/revoke", vec![post(oauth::revoke::handle)]))
        .service(at("/revocations", vec![get(revocations::routes::list)]))
        .service(at("/verify", vec![get(oauth::verify::handle)]))
        .service(at("/.well-known/oauth-authorization-server", vec![get(oauth::metadata::handle)]))
        .service(at("/.well-known/jwks.json", vec![get(keys::routes::jwks)]))
        // The current user.
        .service(at("/users", vec![post(users::routes::me::register)]))
        .service(at("/users/me", vec![get(users::routes::me::show), patch(users::routes::me::change)]))
        .service(at("/users/me/password", vec![put(users::routes::me::change_password)]))
        .service(at("/users/me/export", vec![get(users::routes::export::export)]))
        .service(at("/users/me/sessions", vec![get(sessions::routes::list)]))
        .service(at("/users/me/sessions/{id}", vec![delete(sessions::routes::end)]))
        .service(at("/users/me/api-keys", vec![get(api_keys::routes::me::list), post(api_keys::routes::me::create)]))
        .service(at("/users/me/api-keys/{id}", vec![delete(api_keys::routes::me::delete)]))
        // Operations and documentation.
        .service(at("/healthz", vec![get(health::healthz)]))
        .service(at("/readyz", vec![get(health::readyz)]))
        .service(at("/openapi.json", vec![get(openapi::openapi)]))
        .service(at("/docs", vec![get(docs::docs)]))
        .service(at("/docs/{file:.*}", vec![get(docs::docs)]))
        .service(at("/", vec![get(root::root)]))
        .service(at("/favicon.ico", vec![get(root::icon)]))
        .service(at("/problems", vec![get(problems::list)]))
        .service(at("/problems/{type}", vec![get(problems::show)]))
        .service(at("/.well-known/oauth-authorization-server/{path:.*}", vec![get(oauth::metadata::at_path)]));
    if !metrics_apart {
        routes.service(at("/metrics", vec![get(metrics::metrics)]));
    }
    routes.service(administration(known)).default_service(web::to(root::no_route));
}

fn administration(known: &mut Known<'_>) -> Scope {
    let mut at = |path, methods| known.at("/admin", path, methods);
    web::scope("/admin")
        .service(at("/users", vec![get(users::routes::admin::list), post(users::routes::admin::create)]))
        .service(at(
            "/users/{id}",
            vec![
                get(users::routes::admin::get),
                patch(users::routes::admin::change),
                delete(users::routes::admin::delete),
            ],
        ))
        .service(at("/users/{id}/password", vec![put(users::routes::access::set_password)]))
        .service(at("/users/{id}/roles", vec![put(users::routes::access::set_roles)]))
        .service(at("/users/{id}/sessions", vec![delete(users::routes::access::end_sessions)]))
        .service(at("/users/{id}/unlock", vec![post(users::routes::access::unlock)]))
        .service(at(
            "/users/{id}/api-keys",
            vec![get(api_keys::routes::admin::list), post(api_keys::routes::admin::create)],
        ))
        .service(at("/users/{id}/api-keys/{key_id}", vec![delete(api_keys::routes::admin::delete)]))
        .service(at("/roles", vec![get(roles::routes::list_roles)]))
        .service(at(
            "/roles/{name}",
            vec![get(roles::routes::get_role), put(roles::routes::put_role), delete(roles::routes::delete_role)],
        ))
        .service(at("/scopes", vec![get(roles::routes::list_scopes)]))
        .service(at(
            "/scopes/{name}",
            vec![get(roles::routes::get_scope), put(roles::routes::put_scope), delete(roles::routes::delete_scope)],
        ))
        .service(at("/clients", vec![get(clients::routes::list), post(clients::routes::create)]))
        .service(at(
            "/clients/{id}",
            vec![get(clients::routes::get), patch(clients::routes::change), delete(clients::routes::delete)],
        ))
        .service(at("/clients/{id}/secret", vec![post(clients::routes::rotate_secret)]))
        .service(at("/signing-keys", vec![get(keys::routes::list), post(keys::routes::rotate)]))
        .service(at("/signing-keys/{kid}", vec![delete(keys::routes::delete)]))
        .service(at("/audit-events", vec![get(audit::routes::list)]))
}

/// Public documents, cached and shared by the workers.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    openapi: OnceLock<Document>,
    /// Files of Swagger UI, by path.
    files: RwLock<BTreeMap<String, docs::File>>,
    /// Keyed by the number of the last change of scopes.
    pub(crate) metadata: Cached<i64>,
}

/// Builds the application. A request passes request id, headers and log, then CORS, then the rate limit and the refusal of a
/// server that stops, then the route: the last `wrap` is the outermost.
pub(crate) fn server(
    app: Arc<App>,
    documents: web::Data<Documents>,
) -> ActixApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let cors = cors(&app.config.http);
    let has_cors = !app.config.http.cors_origins.is_empty();
    let policy = rate_limit::Policy::of(&app.limits);
    let metrics_apart = app.config.telemetry.metrics_address.is_some();
    let of_app = Arc::clone(&app);
    let mut known = Known { requests: &of_app.metrics.requests, routes: BTreeMap::new() };
    ActixApp::new()
        .app_data(web::Data::from(app))
        .app_data(documents)
        .app_data(policy)
        .configure(|config| routes(config, &mut known, metrics_apart))
        .app_data(Routes::of(known))
        // Inside of CORS, so that a page can read the response. A preflight is counted, and answered by CORS in any case: it costs
        // no more than a refusal, which a browser would not show to the page.
        .wrap(from_fn(refuse::refuse))
        .wrap(Condition::new(has_cors, cors))
        .wrap(from_fn(headers::complete))
}

fn cors(config: &HttpConfig) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            AUTHORIZATION.as_str(),
            CONTENT_TYPE.as_str(),
            "X-Request-Id",
            "X-Requested-With",
            "X-API-Key",
        ])
        .expose_headers([
            WWW_AUTHENTICATE.as_str(),
            RETRY_AFTER.as_str(),
            ETAG.as_str(),
            "X-Request-Id",
            rate_limit::POLICY,
            rate_limit::LIMIT,
        ])
        .max_age(3600);
    config.cors_origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// Starts a response with `Cache-Control: no-store`, for data of a user or an administrator.
pub(crate) fn no_store(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, "no-store"));
    answer
}

/// Paths whose errors have the OAuth format.
const OAUTH: [&str; 3] = ["/token", "/introspect", "/revoke"];

/// Returns whether errors of this route have the OAuth format.
fn is_oauth(req: &HttpRequest) -> bool {
    req.match_pattern().is_some_and(|pattern| OAUTH.contains(&pattern.as_str()))
}

/// A method and its handler.
struct Method {
    names: &'static str,
    route: Route,
}

/// Defines a function for each method: handlers of different types have no common type.
macro_rules! methods {
    ($($(#[$about:meta])* $name:ident = $names:literal, $route:expr;)+) => { $(
        $(#[$about])*
        fn $name<F, Args>(handler: F) -> Method
        where
            F: actix_web::Handler<Args>,
            Args: actix_web::FromRequest + 'static,
            F::Output: actix_web::Responder + 'static,
        {
            Method { names: $names, route: $route.to(handler) }
        }
    )+ };
}
methods! {
    /// Also matches HEAD, for which the server sends no body.
    get = "GET, HEAD", web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    post = "POST", web::post();
    put = "PUT", web::put();
    patch = "PATCH", web::patch();
    delete = "DELETE", web::delete();
}

/// The routes that are being registered.
struct Known<'a> {
    requests: &'a Requests,
    routes: BTreeMap<String, Arc<Matched>>,
}

impl Known<'_> {
    /// Builds the resource of a path in a scope. Other methods are answered 405 with `Allow`.
    fn at(&mut self, scope: &str, path: &'static str, methods: Vec<Method>) -> Resource {
        let allow = methods.iter().map(|method| method.names).collect::<Vec<_>>().join(", ");
        let refuse = move |req: HttpRequest| {
            let answer = method_not_allowed(&req, &allow);
            async move { answer }
        };
        let route = self.requests.add(format!("{scope}{path}"));
        self.routes.insert(route.pattern().to_owned(), Arc::clone(&route));
        // For the log, the metrics and the traces: `HttpRequest::match_pattern` would match the path once more.
        let resource = web::resource(path).app_data(route).default_service(web::to(refuse));
        methods.into_iter().fold(resource, |resource, method| resource.route(method.route))
    }
}

/// The routes of a worker, by their paths.
struct Routes {
    known: BTreeMap<String, Arc<Matched>>,
    /// Stands for all paths without a route.
    unmatched: Arc<Matched>,
}

impl Routes {
    fn of(known: Known<'_>) -> Self {
        Self { unmatched: known.requests.add("unmatched".to_owned()), known: known.routes }
    }

    /// Returns the route of a request, and whether there is one.
    fn find<'r>(&'r self, req: &'r HttpRequest) -> (&'r Matched, bool) {
        if let Some(route) = req.app_data::<Arc<Matched>>() {
            return (route, true);
        }
        // It was answered before it reached its route, or has none.
        match req.match_pattern().and_then(|pattern| self.known.get(&pattern)) {
            Some(route) => (route, true),
            None => (&self.unmatched, false),
        }
    }
}

fn method_not_allowed(req: &HttpRequest, allow: &str) -> Result<HttpResponse, Error> {
    if is_oauth(req) {
        Err(OAuthError::method_not_allowed(allow).into())
    } else {
        Err(Problem::method_not_allowed(allow).into())
    }
}
