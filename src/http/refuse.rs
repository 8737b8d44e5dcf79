//! Requests that are refused before their route: the server stops, or their network sends too many.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::Next,
    web,
};

use super::{
    problem::Problem,
    rate_limit::{REQUESTS_USED_UP, TooMany},
};
use crate::{app::App, oauth::OAuthError};

/// Answers a request, or refuses it.
pub(super) async fn refuse<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    match refusal(&req) {
        None => Ok(next.call(req).await?.map_into_left_body()),
        Some(error) => Ok(req.error_response(error).map_into_right_body()),
    }
}

fn refusal(req: &ServiceRequest) -> Option<Error> {
    let is_oauth = || super::is_oauth(req.request());
    if is_stopping(req.request()) {
        return Some(if is_oauth() { OAuthError::stopping().into() } else { Problem::stopping().into() });
    }
    let TooMany { retry_after } = *req.extensions().get::<TooMany>()?;
    let reason = "too many requests from this network; retry later";
    Some(if is_oauth() {
        OAuthError::slow_down(retry_after, reason).logged(REQUESTS_USED_UP).into()
    } else {
        Problem::too_many_requests(retry_after, reason).logged(REQUESTS_USED_UP).into()
    })
}

fn is_stopping(req: &HttpRequest) -> bool {
    req.app_data::<web::Data<App>>().is_some_and(|app| app.is_stopping())
}

/// Tells the caller to send its next request on another connection, where another server may answer it.
pub(super) fn close_if_stopping<B>(response: &mut ServiceResponse<B>) {
    if is_stopping(response.request()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
}
