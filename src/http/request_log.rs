//! One line in the log for each request. Never a query, a header or a body: there are secrets in them.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};

use super::headers::RequestIdText;
use crate::{app::App, client_address::client_address};

pub(super) async fn log<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let response = next.call(req).await?;
    let status = response.status();
    let req = response.request();
    let address = req
        .app_data::<web::Data<App>>()
        .and_then(|app| client_address(req, &app.config.http.trusted_proxies))
        .map(|address| address.to_string());
    let id = req.extensions().get::<RequestIdText>().map(|id| id.0.clone());
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (method, path, status) = (req.method().as_str(), req.path(), status.as_u16());
    if status >= 500 {
        tracing::error!(method, path, status, micros, request_id = id, address, "request");
    } else {
        tracing::info!(method, path, status, micros, request_id = id, address, "request");
    }
    Ok(response)
}
