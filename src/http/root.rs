//! `GET /` and `GET /favicon.ico`, and the error for a path without a route.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Uri,
        header::{ACCEPT, Accept, CACHE_CONTROL, Header as _, LOCATION, Quality, VARY},
    },
    web,
};
use serde::Serialize;

use super::problem::Problem;
use crate::app::App;

const ICON: &str = include_str!("icon.svg");

/// The entry points of this server. URLs begin with the issuer.
#[derive(Serialize)]
struct Links<'a> {
    issuer: &'a str,
    docs: String,
    openapi: String,
    metadata: String,
}

/// Redirects a browser to `/docs`, and answers other callers with links.
pub(super) async fn root(app: web::Data<App>, req: HttpRequest) -> HttpResponse {
    if accepts_html(&req) {
        // A proxy that serves an issuer with a path removes the path. The issuer's URL, not a relative one: `docs` would lead
        // from `https://example.com/auth` to `https://example.com/docs`.
        let has_path = app.issuer.parse::<Uri>().is_ok_and(|issuer| issuer.path() != "/");
        let base = if has_path { &app.issuer } else { "" };
        return HttpResponse::SeeOther()
            .insert_header((LOCATION, format!("{base}/docs")))
            .insert_header((VARY, ACCEPT.as_str()))
            .finish();
    }
    let url = |path: &str| format!("{}{path}", app.issuer);
    HttpResponse::Ok().insert_header((VARY, ACCEPT.as_str())).json(Links {
        issuer: &app.issuer,
        docs: url("/docs"),
        openapi: url("/openapi.json"),
        metadata: url("/.well-known/oauth-authorization-server"),
    })
}

/// Returns whether `Accept` names `text/html`. `*/*` does not count: curl and most HTTP libraries send it.
fn accepts_html(req: &HttpRequest) -> bool {
    let accepted = Accept::parse(req).map(|accept| accept.0).unwrap_or_default();
    accepted.iter().any(|range| range.item.essence_str() == "text/html" && range.quality > Quality::ZERO)
}

pub(super) async fn icon() -> HttpResponse {
    HttpResponse::Ok().content_type("image/svg+xml").insert_header((CACHE_CONTROL, "public, max-age=86400")).body(ICON)
}

pub(super) async fn no_route(req: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(nothing_at(&req))
}

/// Returns the error for a path without a route. Names the path without its trailing slash, if that has a route.
pub(crate) fn nothing_at(req: &HttpRequest) -> Problem {
    let path = req.path();
    match path.trim_end_matches('/') {
        meant if meant != path && req.resource_map().has_resource(meant) => {
            Problem::not_found(format!("there is nothing at {path}: did you mean {meant}, without the trailing slash?"))
        }
        _ => Problem::not_found("there is nothing at this path"),
    }
}
