//! The request log: a line for each request that changed something or failed, and at the level `debug` for all others. A refused
//! login or token request has the reason. Never a query, a header or a body: they contain secrets.

use std::time::Instant;

use actix_web::{HttpMessage as _, dev::ServiceResponse, web};
use tracing::Level;

use crate::{app::App, client_address::client_address, principal::Acting};

/// Routes that take a body and change nothing.
const QUIET: [&str; 1] = ["/introspect"];

pub(super) fn log<B>(response: &ServiceResponse<B>, request_id: &str, began: Instant, reason: Option<&str>) {
    let (req, status) = (response.request(), response.status().as_u16());
    // Successful reads are most of the traffic, and rarely of interest.
    let is_quiet = status < 400 && (req.method().is_safe() || QUIET.contains(&req.path()));
    if is_quiet && !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let address = req
        .app_data::<web::Data<App>>()
        .and_then(|app| client_address(req, &app.config.proxies))
        .map(|address| address.to_string());
    let (method, path) = (req.method().as_str(), req.path());
    let extensions = req.extensions();
    let acting = extensions.get::<Acting>();
    let (principal, credential) = (acting.map(|acting| &*acting.subject), acting.map(|acting| acting.method));
    if status >= 500 {
        tracing::error!(method, path, status, micros, request_id, address, principal, credential, reason, "request");
    } else if is_quiet {
        tracing::debug!(method, path, status, micros, request_id, address, principal, credential, reason, "request");
    } else {
        tracing::info!(method, path, status, micros, request_id, address, principal, credential, reason, "request");
    }
}
