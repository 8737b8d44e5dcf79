//! `GET /openapi.json`: what this server can do, generated from its handlers.

use actix_web::{HttpRequest, HttpResponse};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes, SecurityScheme},
};

use super::{
    cache::{Document as CacheDocument, MAX_AGE},
    health,
};
use crate::{
    clients, keys, oauth, revocations,
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
        revocations::list,
        oauth::verify::handle,
        oauth::metadata::handle,
        keys::routes::jwks,
        keys::routes::list,
        keys::routes::rotate,
        keys::routes::delete,
        users::admin::list,
        users::admin::create,
        users::admin::get,
        users::admin::change,
        users::admin::delete,
        users::admin::set_password,
        users::admin::set_roles,
        users::admin::end_sessions,
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
        users::me::show,
        users::me::change,
        users::me::change_password,
        users::me::register,
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
    modifiers(&SecuritySchemes)
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

/// The description of this server (OpenAPI 3.1).
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(super) async fn openapi(req: HttpRequest) -> HttpResponse {
    CacheDocument::of(&document(), MAX_AGE).answer(&req)
}
