//! `GET /healthz` and `GET /readyz`: liveness and readiness.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;

use super::{
    no_store,
    problem::{Problem, ProblemBody},
};
use crate::{app::App, error::Error};

/// The result of a health check.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

fn well(status: &'static str) -> HttpResponse {
    no_store(StatusCode::OK).json(Health { status })
}

/// Check liveness
///
/// Answers as long as the process runs.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "health",
    responses((status = 200, description = "The process is running", body = Health))
)]
pub(crate) async fn healthz() -> HttpResponse {
    well("ok")
}

/// Check readiness
///
/// Pings the database, and checks that a SQLite file is still the one that was opened and that the active signing key can be
/// used.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "health",
    responses(
        (status = 200, description = "The server is ready", body = Health),
        (status = 503, description = "Database unavailable, its file deleted or replaced, the active signing key cannot be decrypted, or the server is shutting down", body = ProblemBody, content_type = "application/problem+json", headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn readyz(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    app.store.ping().await?;
    if app.keys.can_sign() { Ok(well("ready")) } else { Err(Error::NoSigningKey.into()) }
}
