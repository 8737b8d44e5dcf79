//! What every response has: a request id, the security headers, the fields of the rate limit, and for errors one of the two forms.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{
            CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    web,
};

use opentelemetry::trace::FutureExt as _;

use super::{
    Routes, docs,
    problem::Problem,
    rate_limit, refuse,
    request_log::{self, Outcome},
};
use crate::{app::App, ids::RequestId, oauth::OAuthError, traces::RequestSpan};

/// Maximum size of a request's head, in bytes: several times the largest token.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Maximum number of header fields. It is the one of actix-web's HTTP/1.1, whose answer to more is 431 without a body.
const MAX_FIELDS: usize = 96;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The request's id, in its extensions.
#[derive(Clone)]
pub(crate) struct RequestIdText(pub(crate) String);

/// Gives the request an id, counts and handles it, completes the response and logs it.
pub(super) async fn complete(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let id = request_id(req.request());
    let span = trace(&req);
    req.extensions_mut().insert(RequestIdText(id.clone()));
    let allowance = rate_limit::count(&req);
    let response = if head_bytes(&req) > MAX_HEAD_BYTES || req.headers().len() > MAX_FIELDS {
        req.error_response(Problem::head_too_large())
    } else {
        match &span {
            Some(span) => next.call(req).with_context(span.context()).await?.map_into_boxed_body(),
            None => next.call(req).await?.map_into_boxed_body(),
        }
    };
    let (mut response, reason) = in_form(response, &id);
    secure(&mut response, &id);
    // After `in_form`, which replaces errors: the fields come behind those of a throttled login.
    if let Some(allowance) = allowance {
        rate_limit::add_fields(&mut response, allowance);
    }
    // After `in_form`, too. In the end: the server may have begun to stop meanwhile.
    refuse::close_if_stopping(&mut response);
    finish(&response, &id, began, reason.as_deref(), span);
    Ok(response)
}

/// Starts the span of a request; `None`: there are no traces.
fn trace(req: &ServiceRequest) -> Option<RequestSpan> {
    let app = req.app_data::<web::Data<App>>()?;
    let scheme = if app.config.tls.files.is_some() { "https" } else { "http" };
    app.traces.request(req.method(), req.headers(), scheme)
}

/// Counts and logs an answered request, and ends its span.
fn finish(response: &ServiceResponse, id: &str, began: Instant, reason: Option<&str>, span: Option<RequestSpan>) {
    let (req, status, took) = (response.request(), response.status().as_u16(), began.elapsed());
    let Some(routes) = req.app_data::<Routes>() else { return };
    let (route, is_known) = routes.find(req);
    route.count(req.method().as_str(), status, took);
    let route = is_known.then(|| route.pattern());
    let trace_id = span.as_ref().map(RequestSpan::trace_id);
    request_log::log(response, &Outcome { request_id: id, route, took, reason, trace_id });
    if let Some(span) = span {
        span.end(req.method(), route, req.path(), status, id);
    }
}

fn head_bytes(req: &ServiceRequest) -> usize {
    let fields: usize = req.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    req.uri().path_and_query().map_or(0, |path| path.as_str().len()) + fields
}

/// Returns the caller's request id if it is plain, else a new one.
fn request_id(req: &HttpRequest) -> String {
    let plain = |text: &&str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let sent = req.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    sent.map_or_else(|| new_request_id(req), str::to_owned)
}

fn new_request_id(req: &HttpRequest) -> String {
    req.app_data::<web::Data<App>>().map_or_else(|| "unknown".to_owned(), |app| RequestId::new(app.now()).to_string())
}

/// Renders errors in one of the two forms, with the request id: grantd's own, and those that actix makes. Returns also the reason
/// of a refused login or token request, which goes to the log only.
fn in_form(response: ServiceResponse, id: &str) -> (ServiceResponse, Option<String>) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return (response, None);
    }
    let (req, response) = response.into_parts();
    let error = response.error();
    let mut reason = None;
    let mut answer = if let Some(problem) = error.and_then(Error::as_error::<Problem>) {
        tell(problem.cause(), status, id);
        reason = problem.log_reason().map(str::to_owned);
        problem.render(id)
    } else if let Some(error) = error.and_then(Error::as_error::<OAuthError>) {
        tell(error.cause(), status, id);
        reason = Some(error.log_reason());
        error.render(id)
    } else {
        if let Some(error) = error {
            tracing::debug!(%error, %status, request_id = id, "a request was refused before it reached a handler");
        }
        if super::is_oauth(&req) {
            OAuthError::of_status(status).render(id)
        } else {
            Problem::of_status(status).render(id)
        }
    };
    keep(&mut answer, response.headers());
    (ServiceResponse::new(req, answer), reason)
}

/// Logs what failed in the server. The caller does not learn it.
fn tell(cause: Option<&str>, status: StatusCode, request_id: &str) {
    match cause {
        Some(error) if status == StatusCode::SERVICE_UNAVAILABLE => {
            tracing::warn!(error, request_id, "the database is unavailable");
        }
        Some(error) => tracing::error!(error, request_id, "internal error"),
        None => {}
    }
}

/// Copies the headers of the response that is replaced: the CORS middleware has written to it.
fn keep(answer: &mut HttpResponse, headers: &HeaderMap) {
    for name in headers.keys().filter(|name| !answer.headers().contains_key(*name)).cloned().collect::<Vec<_>>() {
        for value in headers.get_all(&name) {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
}

fn secure(response: &mut ServiceResponse, id: &str) {
    let app = response.request().app_data::<web::Data<App>>();
    let secure = app.is_some_and(|app| app.config.tls.files.is_some());
    let policy = if docs::is_docs(response.request().path()) { docs::POLICY } else { POLICY };
    let headers: &mut HeaderMap = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}
