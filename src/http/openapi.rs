//! `GET /openapi.json`: what this server can do, generated from its handlers.

use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, ContentBuilder, Header, Object, Ref, RefOr, ResponseBuilder, Type,
        path::{Operation, ParameterIn},
        security::{Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes, SecurityScheme},
    },
};

use super::{
    Documents,
    cache::{Document as CacheDocument, MAX_AGE},
    health,
};
use crate::{
    audit, clients, keys, oauth, revocations,
    roles::{self, BUILT_IN_SCOPES},
    sessions, users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "grantd",
        description = "A user name and a password in, a short-lived signed token out.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        oauth::token::handle,
        oauth::introspect::handle,
        oauth::revoke::handle,
        revocations::routes::list,
        oauth::verify::handle,
        oauth::metadata::handle,
        keys::routes::jwks,
        keys::routes::list,
        keys::routes::rotate,
        keys::routes::delete,
        users::routes::admin::list,
        users::routes::admin::create,
        users::routes::admin::get,
        users::routes::admin::change,
        users::routes::admin::delete,
        users::routes::access::set_password,
        users::routes::access::set_roles,
        users::routes::access::end_sessions,
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
        audit::routes::list,
        users::routes::me::show,
        users::routes::me::change,
        users::routes::me::change_password,
        users::routes::me::register,
        sessions::routes::list,
        sessions::routes::end,
        health::healthz,
        health::readyz,
    ),
    tags(
        (name = "oauth", description = "Tokens, and what others need to check them"),
        (name = "administration", description = "For operators"),
        (name = "account", description = "One's own account"),
        (name = "operations", description = "For those who run the server"),
    ),
    modifiers(&SecuritySchemes, &Refusals)
)]
struct Document;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let flow = Flow::Password(Password::new("/token", Scopes::from_iter(BUILT_IN_SCOPES)));
        components.add_security_scheme("oauth2", SecurityScheme::OAuth2(OAuth2::new([flow])));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let client =
            HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some("A client's id and secret")).build();
        components.add_security_scheme("client", SecurityScheme::Http(client));
    }
}

/// How routes for operators and accounts refuse a request, whatever they do: an operation names only what is its own.
struct Refusals;

/// When an operation has a refusal.
enum When {
    Always,
    WithCredentials,
    WithBody,
    WithBodyOrQuery,
}

/// Status, name among the components, when, what it means, and the header that it has.
const REFUSALS: [(&str, &str, When, &str, Option<&str>); 8] = [
    ("400", "BadRequest", When::Always, "Two tokens, a malformed `Authorization` header, or a malformed body", None),
    ("401", "Unauthorized", When::WithCredentials, "No token, or a bad one", Some("WWW-Authenticate")),
    (
        "403",
        "Forbidden",
        When::WithCredentials,
        "The token lacks the scope that is needed here, or its owner may not",
        None,
    ),
    ("408", "Timeout", When::WithBody, "The body took too long to come", None),
    ("413", "TooLarge", When::WithBody, "The body has more than 64 KiB", None),
    ("415", "UnsupportedMediaType", When::WithBody, "The `Content-Type` is not JSON", None),
    ("422", "Invalid", When::WithBodyOrQuery, "Some fields are wrong: `errors` has them all", None),
    ("503", "Unavailable", When::Always, "The database is away, or too much is asked at once", Some("Retry-After")),
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
            let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            methods.into_iter().flatten().for_each(refuse);
        }
    }
}

const PROBLEM: &str = "application/problem+json";

fn problem() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build()
}

fn refuse(operation: &mut Operation) {
    let tags = operation.tags.as_deref().unwrap_or_default();
    if !tags.iter().any(|tag| tag == "administration" || tag == "account") {
        return;
    }
    let has_body = operation.request_body.is_some();
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query));
    // What an operation names itself is a problem too.
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

/// The description of this server (OpenAPI 3.1).
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`
pub(super) async fn openapi(documents: web::Data<Documents>, req: HttpRequest) -> HttpResponse {
    documents.openapi.get_or_init(|| CacheDocument::of(&document(), MAX_AGE)).answer(&req)
}
