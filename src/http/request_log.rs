//! A line in the log for each request that changed something or went wrong, and at the level `debug` for every other. Never a
//! query, a header or a body: there are secrets in them.

use std::time::Instant;

use actix_web::{dev::ServiceResponse, web};
use tracing::Level;

use crate::{app::App, client_address::client_address};

/// Routes that change nothing though they take a body.
const QUIET: [&str; 1] = ["/introspect"];

pub(super) fn log<B>(response: &ServiceResponse<B>, request_id: &str, began: Instant) {
    let (req, status) = (response.request(), response.status().as_u16());
    // What was asked and answered well is the most of it, and of use to nobody most of the time.
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
    if status >= 500 {
        tracing::error!(method, path, status, micros, request_id, address, "request");
    } else if is_quiet {
        tracing::debug!(method, path, status, micros, request_id, address, "request");
    } else {
        tracing::info!(method, path, status, micros, request_id, address, "request");
    }
}
