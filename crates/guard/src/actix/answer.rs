//! The response to a refused request.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};

use super::Rejection;

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.refusal().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        for header in self.headers() {
            answer.insert_header(header);
        }
        answer.body(self.body())
    }
}
