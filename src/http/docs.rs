//! `GET /docs`: Swagger UI, from the binary; no other host is asked for anything.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::header::{HeaderValue, LOCATION},
    web,
};
use utoipa_swagger_ui::Config;

use super::problem::Problem;
use crate::error::Error;

/// What Swagger UI needs: its own files, styles within the page, pictures within the styles, and this server's routes.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'",
);

pub(super) fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// The page and its files.
pub(super) async fn docs(file: Option<web::Path<String>>) -> Result<HttpResponse, Problem> {
    let Some(file) = file else {
        // The links of the page are relative to a folder.
        return Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, "docs/")).finish());
    };
    let config = Config::from("../openapi.json")
        .with_credentials(false)
        .persist_authorization(false)
        .display_request_duration(true)
        .try_it_out_enabled(true);
    let found = utoipa_swagger_ui::serve(&file, Arc::new(config));
    match found.map_err(|error| Error::Internal(error.to_string()))? {
        Some(file) => Ok(HttpResponse::Ok().content_type(file.content_type).body(file.bytes.into_owned())),
        None => Err(Problem::not_found("there is nothing at this path")),
    }
}
