//! The request log: a line for each request that changed something or failed, and at the level `debug` for all others. A refused
//! login or token request has the reason. Never a query, a header or a body: they contain secrets. `docs/logging.md` describes the
//! fields.

use std::time::Duration;

use actix_web::{HttpMessage as _, dev::ServiceResponse, web};
use tracing::Level;

use crate::{app::App, client_address::client_address, principal::Acting};

/// Routes that take a body and change nothing.
const QUIET: [&str; 1] = ["/introspect"];

/// What a line has that the response does not.
pub(super) struct Outcome<'a> {
    pub(super) request_id: &'a str,
    /// The path with the names of its parameters; `None`: there is no route.
    pub(super) route: Option<&'a str>,
    pub(super) took: Duration,
    /// Why a login or a token request was refused.
    pub(super) reason: Option<&'a str>,
    pub(super) trace_id: Option<String>,
}

/// Logs a request, at its level.
pub(super) fn log<B>(response: &ServiceResponse<B>, outcome: &Outcome<'_>) {
    let (req, status) = (response.request(), response.status().as_u16());
    // Successful reads are most of the traffic, and rarely of interest.
    let is_quiet = status < 400 && (req.method().is_safe() || QUIET.contains(&req.path()));
    if is_quiet && !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let Outcome { request_id, route, took, reason, trace_id } = outcome;
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let address = req
        .app_data::<web::Data<App>>()
        .and_then(|app| client_address(req, &app.config.proxies))
        .map(|address| address.to_string());
    let (method, path) = (req.method().as_str(), req.path());
    let extensions = req.extensions();
    let acting = extensions.get::<Acting>();
    let (principal, credential) = (acting.map(|acting| &*acting.subject), acting.map(|acting| acting.method));
    // The level of an event is a constant of its place in the code.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level, method, route, path, status, micros, request_id, address, principal, credential, reason,
                trace_id, "request"
            )
        };
    }
    match status {
        // The server stops, is overloaded or without its database, which has lines of its own.
        503 => line!(Level::WARN),
        500.. => line!(Level::ERROR),
        _ if is_quiet => line!(Level::DEBUG),
        _ => line!(Level::INFO),
    }
}
