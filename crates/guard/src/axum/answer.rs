//! The response to a refused request.

use axum::{
    body::Body,
    http::StatusCode,
    response::{AppendHeaders, IntoResponse, Response},
};

use super::Rejection;

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.refusal().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, AppendHeaders(self.headers()), Body::from(self.body())).into_response()
    }
}
