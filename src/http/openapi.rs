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
use crate::{keys, oauth, revocations, roles::BUILT_IN_SCOPES, sessions, users};

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
        users::show,
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
