//! What is public of the signing keys.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::app::App;

/// The public keys
///
/// For services that check tokens by themselves (RFC 7517 §5).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "oauth",
    responses(
        (status = 200, description = "The JWK set", body = Object),
        (status = 304, description = "Not changed since the ETag of If-None-Match"),
    )
)]
pub(crate) async fn jwks(app: web::Data<App>, req: HttpRequest) -> HttpResponse {
    app.keys.snapshot.load().published.answer(&req)
}
