//! `GET /docs`: Swagger UI. Its files are part of the binary; it loads nothing from other hosts.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header::HeaderValue};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::{nothing_at, problem::Problem};
use crate::error::Error;

/// The content security policy for Swagger UI: own files, inline styles, `data:` images in styles, and requests to this server.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'",
);

pub(super) fn is_docs(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// Serves the page and its files.
pub(super) async fn docs(req: HttpRequest) -> Result<HttpResponse, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    let name = req.match_info().get("file");
    // `/docs//`: Swagger UI would serve its own page, with the definition of another API.
    if name == Some("/") {
        return Err(nothing_at(&req));
    }
    let found = file(name.unwrap_or_default())?.ok_or_else(nothing)?;
    Ok(answer(match name {
        None => page(found, "docs/", "favicon.ico"),
        Some("" | "index.html") => page(found, "./", "../favicon.ico"),
        Some(_) => found,
    }))
}

fn answer(file: SwaggerFile<'_>) -> HttpResponse {
    HttpResponse::Ok().content_type(file.content_type).body(file.bytes.into_owned())
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
