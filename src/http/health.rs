//! Whether the process lives, and whether it can do its work.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;

use super::{
    no_store,
    problem::{Problem, ProblemBody},
};
use crate::{app::App, error::Error};

/// That all is well.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

fn well(status: &'static str) -> HttpResponse {
    no_store(StatusCode::OK).json(Health { status })
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "operations",
    responses((status = 200, description = "It does", body = Health))
)]
pub(crate) async fn healthz() -> HttpResponse {
    well("ok")
}

/// Whether the server can do its work
///
/// It has an up-to-date schema from the start on. The database must answer, a SQLite file must still be the
/// one that was opened, and the active signing key must be usable.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "The database is away, its file was deleted or replaced, or the active signing key cannot be unsealed", body = ProblemBody, content_type = "application/problem+json", headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn readyz(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    app.store.ping().await?;
    if app.keys.can_sign() { Ok(well("ready")) } else { Err(Error::NoSigningKey.into()) }
}
