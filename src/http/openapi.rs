//! `GET /openapi.json`: the OpenAPI description, generated from the handlers.

use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, ContentBuilder, Header, Object, Ref, RefOr, ResponseBuilder, Type,
        path::{Operation, ParameterIn, PathItem},
        security::{
            ApiKey, ApiKeyValue, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes, SecurityRequirement,
            SecurityScheme,
        },
    },
};

use super::{
    Documents, OAUTH,
    cache::{Document as CacheDocument, MAX_AGE},
    health, metrics,
};
use crate::{
    api_keys, audit, clients, keys, oauth, revocations,
    roles::{self, BUILT_IN_SCOPES},
    sessions, users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "grantd API",
        description = "A token server: issues short-lived signed access tokens for a username and a password.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    // Operations and tags are in the order of `/docs`, by use.
    paths(
        oauth::token::handle,
        oauth::revoke::handle,
        oauth::introspect::handle,
        oauth::verify::handle,
        revocations::routes::list,
        keys::routes::jwks,
        oauth::metadata::handle,
        users::routes::me::show,
        users::routes::me::change,
        users::routes::me::change_password,
        users::routes::export::export,
        sessions::routes::list,
        sessions::routes::end,
        api_keys::routes::me::list,
        api_keys::routes::me::create,
        api_keys::routes::me::delete,
        users::routes::me::register,
        users::routes::admin::list,
        users::routes::admin::create,
        users::routes::admin::get,
        users::routes::admin::change,
        users::routes::admin::delete,
        users::routes::access::set_roles,
        users::routes::access::set_password,
        users::routes::access::end_sessions,
        users::routes::access::unlock,
        api_keys::routes::admin::list,
        api_keys::routes::admin::create,
        api_keys::routes::admin::delete,
        roles::routes::list_roles,
        roles::routes::get_role,
        roles::routes::put_role,
        roles::routes::delete_role,
        roles::routes::list_scopes,
        roles::routes::get_scope,
        roles::routes::put_scope,
        roles::routes::delete_scope,
        clients::routes::list,
        clients::routes::create,
        clients::routes::get,
        clients::routes::change,
        clients::routes::delete,
        clients::routes::rotate_secret,
        keys::routes::list,
        keys::routes::rotate,
        keys::routes::delete,
        audit::routes::list,
        health::healthz,
        health::readyz,
        metrics::metrics,
    ),
    tags(
        (name = "tokens", description = "Issue, revoke, introspect and verify tokens"),
        (name = "account", description = "The current user: profile, password, sessions and API keys"),
        (name = "users", description = "Manage users: roles, passwords, sessions and API keys"),
        (name = "roles and scopes", description = "Manage roles and the scopes that they grant"),
        (name = "clients", description = "Manage OAuth clients and their secrets"),
        (name = "keys", description = "Rotate and retire signing keys"),
        (name = "audit", description = "Read the audit log"),
        (name = "health", description = "Liveness and readiness checks"),
        (name = "metrics", description = "Metrics for Prometheus"),
    ),
    modifiers(&SecuritySchemes, &Refusals, &Throttled)
)]
struct Document;

/// The security schemes in the order of the Authorize dialog.
const SCHEMES: [&str; 5] = ["oauth2", "bearer", "apiKey", "basic", "client"];
const LOGIN: &str = "Log in with `username` and `password`. Leave `client_id` and `client_secret` empty to use the client \
                     `default`. Select scopes to narrow the token; without a selection it has all scopes of the user.";

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let flow = Flow::Password(Password::new("/token", Scopes::from_iter(BUILT_IN_SCOPES)));
        components.add_security_scheme("oauth2", SecurityScheme::OAuth2(OAuth2::with_description([flow], LOGIN)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An access token that you already have."))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKeyValue::with_description("X-API-Key", "An API key of a user: `grk_…`.");
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let basic = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("The username and password of a user, with each request."))
            .build();
        components.add_security_scheme("basic", SecurityScheme::Http(basic));
        let client = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("The id and secret of a confidential client."))
            .build();
        components.add_security_scheme("client", SecurityScheme::Http(client));
        for item in document.paths.paths.values_mut() {
            methods(item).for_each(accept_all_credentials);
        }
    }
}

fn methods(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Adds the credentials that each route with tokens accepts, too. Basic is for clients where the route says so.
fn accept_all_credentials(operation: &mut Operation) {
    let Some(security) = &mut operation.security else { return };
    let has = |security: &[SecurityRequirement], scheme| {
        security.iter().any(|requirement| *requirement == SecurityRequirement::new(scheme, NONE))
    };
    if has(security, "bearer") {
        if !NOT_WITH_API_KEY.contains(&operation.operation_id.as_deref().unwrap_or_default()) {
            security.push(SecurityRequirement::new("apiKey", NONE));
        }
        if !has(security, "client") {
            security.push(SecurityRequirement::new("basic", NONE));
        }
    }
}

const NONE: [&str; 0] = [];

/// Operations that no API key may use.
const NOT_WITH_API_KEY: [&str; 7] = [
    "change_my_password",
    "create_own_api_key",
    "delete_own_api_key",
    "create_user",
    "set_user_password",
    "create_api_key",
    "delete_api_key",
];

/// Adds the error responses that all routes outside OAuth share: an operation lists only its own.
struct Refusals;

/// The operations that have an error response.
enum When {
    Always,
    WithCredentials,
    WithBody,
    WithBodyOrQuery,
}

/// Status, name of the component, operations, description, and header.
const REFUSALS: [(&str, &str, When, &str, Option<&str>); 8] = [
    (
        "400",
        "BadRequest",
        When::Always,
        "More than one token, a malformed `Authorization` header, or a malformed body",
        None,
    ),
    ("401", "Unauthorized", When::WithCredentials, "Missing or invalid token", Some("WWW-Authenticate")),
    ("403", "Forbidden", When::WithCredentials, "Missing scope, or action not allowed", None),
    ("408", "Timeout", When::WithBody, "Timeout while reading the body", None),
    ("413", "TooLarge", When::WithBody, "Body larger than 64 KiB", None),
    ("415", "UnsupportedMediaType", When::WithBody, "Content type other than JSON", None),
    ("422", "Invalid", When::WithBodyOrQuery, "Invalid fields, which are listed in `errors`", None),
    ("503", "Unavailable", When::Always, "Database unavailable, or too many concurrent requests", Some("Retry-After")),
];

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let responses = &mut document.components.get_or_insert_default().responses;
        for (_, name, _, meaning, header) in REFUSALS {
            let mut answer = ResponseBuilder::new().description(meaning).content(PROBLEM, problem());
            if let Some(header) = header {
                let kind = if header == "Retry-After" { Type::Integer } else { Type::String };
                answer = answer.header(header, Header::new(Object::with_type(kind)));
            }
            responses.insert(name.to_owned(), answer.build().into());
        }
        for item in document.paths.paths.values_mut() {
            methods(item).for_each(refuse);
        }
    }
}

const PROBLEM: &str = "application/problem+json";

fn problem() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build()
}

fn has_tag(operation: &Operation, name: &str) -> bool {
    operation.tags.iter().flatten().any(|tag| tag == name)
}

fn refuse(operation: &mut Operation) {
    if has_tag(operation, "tokens") || has_tag(operation, "health") {
        return;
    }
    let has_body = operation.request_body.is_some();
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query));
    // The errors that an operation lists itself have the same body.
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (status.starts_with('4'), response) {
            response.content.insert(PROBLEM.to_owned(), problem().into());
        }
    }
    for (status, name, when, ..) in REFUSALS {
        let applies = match when {
            When::Always => true,
            When::WithCredentials => operation.security.is_some(),
            When::WithBody => has_body,
            When::WithBodyOrQuery => has_body || has_query,
        };
        if applies {
            let refusal = || Ref::from_response_name(name).into();
            operation.responses.responses.entry(status.to_owned()).or_insert_with(refusal);
        }
    }
}

/// Adds the response of a throttled request to all operations except the health checks.
struct Throttled;

/// Name of the component, and type and schema of its body: in general, and at the OAuth endpoints.
const TOO_MANY_REQUESTS: (&str, &str, &str) = ("TooManyRequests", PROBLEM, "Problem");
const SLOW_DOWN: (&str, &str, &str) = ("SlowDown", "application/json", "OAuthError");

impl Modify for Throttled {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let responses = &mut document.components.get_or_insert_default().responses;
        for (name, kind, schema) in [TOO_MANY_REQUESTS, SLOW_DOWN] {
            let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
            let header = |kind| Header::new(Object::with_type(kind));
            let answer = ResponseBuilder::new()
                .description("Too many requests from this network, or too many failed logins")
                .content(kind, body)
                .header("Retry-After", header(Type::Integer))
                .header("RateLimit-Policy", header(Type::String))
                .header("RateLimit", header(Type::String));
            responses.insert(name.to_owned(), answer.build().into());
        }
        for (path, item) in &mut document.paths.paths {
            let (name, ..) = if OAUTH.contains(&path.as_str()) { SLOW_DOWN } else { TOO_MANY_REQUESTS };
            for operation in methods(item).filter(|operation| !has_tag(operation, "health")) {
                let throttled = || Ref::from_response_name(name).into();
                operation.responses.responses.entry("429".to_owned()).or_insert_with(throttled);
            }
        }
    }
}

/// The description of this server (OpenAPI 3.1).
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Returns the description as JSON. utoipa sorts the security schemes by name, but Swagger UI lists them in the order of the
/// document, and the login with a password comes first.
fn json() -> serde_json::Result<String> {
    let document = document();
    let text = serde_json::to_string(&document)?;
    let schemes = document.components.unwrap_or_default().security_schemes;
    let member = |name| Some((name, schemes.get(name)?));
    let members = SCHEMES.into_iter().filter_map(member).map(|(name, scheme)| {
        let scheme = serde_json::to_string(scheme)?;
        Ok(format!("\"{name}\":{scheme}"))
    });
    let ordered = members.collect::<serde_json::Result<Vec<_>>>()?.join(",");
    Ok(text.replacen(&serde_json::to_string(&schemes)?, &format!("{{{ordered}}}"), 1))
}

/// `GET /openapi.json`
pub(super) async fn openapi(documents: web::Data<Documents>, req: HttpRequest) -> HttpResponse {
    let make = || match json() {
        Ok(text) => CacheDocument::json(text, MAX_AGE),
        Err(_) => CacheDocument::of(&document(), MAX_AGE),
    };
    documents.openapi.get_or_init(make).answer(&req)
}
