//! `GET /docs`: Swagger UI, from the binary; no other host is asked for anything.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::HeaderValue,
    web::{self, Bytes},
};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::{Documents, problem::Problem};
use crate::error::Error;

/// What Swagger UI needs: its own files, styles within the page, pictures within the styles, and this server's routes.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'",
);

pub(super) fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// A file of Swagger UI. The bytes are shared: a response does not copy them.
#[derive(Debug)]
pub(super) struct File {
    content_type: String,
    bytes: Bytes,
}

impl File {
    fn answer(&self) -> HttpResponse {
        HttpResponse::Ok().content_type(self.content_type.as_str()).body(self.bytes.clone())
    }
}

impl From<SwaggerFile<'static>> for File {
    fn from(file: SwaggerFile<'static>) -> Self {
        let bytes = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        Self { content_type: file.content_type, bytes }
    }
}

/// The page and its files.
pub(super) async fn docs(documents: web::Data<Documents>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    if let Some(name) = req.match_info().get("file") {
        return Ok(file(name)?.ok_or_else(nothing)?.answer());
    }
    if let Some(page) = documents.docs.get() {
        return Ok(page.answer());
    }
    let page = page(&file("")?.ok_or_else(nothing)?);
    Ok(documents.docs.get_or_init(|| page).answer())
}

/// A file of Swagger UI; the page, where no name is given.
fn file(name: &str) -> Result<Option<File>, Error> {
    let config = Config::from("/openapi.json")
        .with_credentials(false)
        .persist_authorization(false)
        .display_request_duration(true)
        .try_it_out_enabled(true);
    let file = utoipa_swagger_ui::serve(name, Arc::new(config)).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(file.map(File::from))
}

/// The page as it is at `/docs`: its links are relative to `/docs/`. (A `<base>` would send its own anchors there too,
/// and a click on one would load the page anew and forget who is logged in.)
fn page(file: &File) -> File {
    let html =
        String::from_utf8_lossy(&file.bytes).replace("\"./", "\"docs/").replace("\"index.css", "\"docs/index.css");
    File { content_type: file.content_type.clone(), bytes: html.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_the_page_leads_to_a_file() {
        let page = page(&file("").unwrap().unwrap());
        let html = str::from_utf8(&page.bytes).unwrap();
        let links: Vec<_> =
            html.split('"').filter(|text| text.starts_with("docs/") || text.starts_with("./")).collect();
        assert!(links.len() >= 4, "{links:?}");
        for link in links {
            let name = link.strip_prefix("docs/").unwrap_or_else(|| panic!("{link} leads out of /docs/"));
            assert!(file(name).unwrap().is_some(), "{link}");
        }
    }
}
