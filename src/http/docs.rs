//! `GET /docs`: Swagger UI. Its files are part of the binary; it loads nothing from other hosts.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::header::HeaderValue,
    web::{self, Bytes},
};
use futures_util::stream;
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::{Documents, nothing_at, problem::Problem};
use crate::error::Error;

/// The content security policy for Swagger UI: own files, inline styles, `data:` images in styles, and requests to this server.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'",
);

/// The size of the parts in which a file is sent.
const PART: usize = 16 * 1024;

pub(super) fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// Serves the page and its files.
pub(super) async fn docs(req: HttpRequest, documents: web::Data<Documents>) -> Result<HttpResponse, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    let name = req.match_info().get("file");
    // `/docs//`: Swagger UI would serve its own page, with the definition of another API.
    if name == Some("/") {
        return Err(nothing_at(&req));
    }
    let known = documents.files.read().unwrap_or_else(PoisonError::into_inner).get(req.path()).cloned();
    if let Some(known) = known {
        return Ok(known.answer());
    }
    let found = file(name.unwrap_or_default())?.ok_or_else(nothing)?;
    let found = match name {
        None => page(found, "docs/", "favicon.ico"),
        Some("" | "index.html") => page(found, "./", "../favicon.ico"),
        Some(_) => found,
    };
    let found = File { content_type: found.content_type, bytes: found.bytes.into_owned().into() };
    // At most one for each path of a file.
    documents.files.write().unwrap_or_else(PoisonError::into_inner).insert(req.path().to_owned(), found.clone());
    Ok(found.answer())
}

/// A file of Swagger UI. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct File {
    content_type: String,
    bytes: Bytes,
}

impl File {
    /// Sends the file in parts, of which a connection holds few: those of many slow callers would fill the memory.
    fn answer(self) -> HttpResponse {
        let Self { content_type, bytes } = self;
        let length = bytes.len();
        let part = move |at: usize| Ok::<_, Infallible>(bytes.slice(at..length.min(at + PART)));
        let parts = stream::iter((0..length).step_by(PART).map(part));
        HttpResponse::Ok().content_type(content_type).body(SizedStream::new(length as u64, parts))
    }
}

/// Returns a file of Swagger UI, or the page if the name is empty.
fn file(name: &str) -> Result<Option<SwaggerFile<'static>>, Error> {
    let config = Config::from("/openapi.json")
        .use_base_layout()
        .with_credentials(false)
        .persist_authorization(false)
        .display_request_duration(true)
        .try_it_out_enabled(true);
    utoipa_swagger_ui::serve(name, Arc::new(config)).map_err(|error| Error::Internal(error.to_string()))
}

/// Sets title and icon of the page, and makes its links relative to its own path: `files` leads to `/docs/`. (A `<base>` would
/// also apply to its anchors, and a click on one would reload the page and log the user out.)
fn page(mut file: SwaggerFile<'static>, files: &str, icon: &str) -> SwaggerFile<'static> {
    let head = format!("<title>grantd API</title>\n    <link rel=\"icon\" type=\"image/svg+xml\" href=\"{icon}\" />");
    let html = String::from_utf8_lossy(&file.bytes);
    let lines: Vec<_> = html.lines().filter(|line| !line.contains("rel=\"icon\"")).collect();
    let html = lines
        .join("\n")
        .replace("<title>Swagger UI</title>", &head)
        .replace("\"./", &format!("\"{files}"))
        .replace("\"index.css", &format!("\"{files}index.css"));
    file.bytes = html.into_bytes().into();
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_the_page_leads_to_a_file() {
        let page = page(file("").unwrap().unwrap(), "docs/", "favicon.ico");
        let html = String::from_utf8(page.bytes.into_owned()).unwrap();
        let links: Vec<_> =
            html.split('"').filter(|text| text.starts_with("docs/") || text.starts_with("./")).collect();
        assert!(links.len() >= 4, "{links:?}");
        for link in links {
            let name = link.strip_prefix("docs/").unwrap_or_else(|| panic!("{link} leads out of /docs/"));
            assert!(file(name).unwrap().is_some(), "{link}");
        }
    }
}
