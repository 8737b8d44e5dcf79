//! `GET /admin/audit-events`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};

use super::{Filter, Recorded};
use crate::{
    app::App,
    http::{
        body::Members,
        no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
        query::Query,
    },
    principal::{AuditRead, Permit},
};

/// What happened
///
/// Newest first. Of several filters all must hold.
#[utoipa::path(
    get,
    path = "/admin/audit-events",
    operation_id = "list_audit_events",
    tag = "administration",
    security(("oauth2" = ["audit:read"]), ("bearer" = [])),
    params(
        ("actor" = Option<String>, Query, description = "Who did it: a user's or client's id", example = "019c13e0-91b8-7e10-8f5d-2b6d7a3f4c11"),
        ("subject" = Option<String>, Query, description = "Whom or what it was done to: the id of a user, client or key, or the name of a role or scope", example = "back-office"),
        ("kind" = Option<String>, Query, description = "What, as the events have it", example = "login.failed"),
        ("since" = Option<String>, Query, description = "The earliest time (RFC 3339)", format = DateTime, example = "2026-01-31T12:00:00Z"),
        Paging,
    ),
    responses((status = 200, description = "A page of events", body = Page<Recorded>)),
)]
pub(crate) async fn list(_: Permit<AuditRead>, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req)?;
    let mut members = Members::default();
    let request = PageRequest::from_query(&query, &mut members, List::AuditEvents, page::id);
    let filter = Filter {
        actor: members.parameter(&query, "actor", |id| Ok(id.to_owned())),
        subject: members.parameter(&query, "subject", |id| Ok(id.to_owned())),
        kind: members.parameter(&query, "kind", str::parse),
        since: members.parameter(&query, "since", super::since),
    };
    let (request, filter) = members.finish(Some((request, filter)))?;
    let events = super::list(&app.store, &filter, request.after, request.fetch_limit()).await?;
    Ok(no_store(StatusCode::OK).json(request.page(events, |event| *event.id.as_bytes())))
}
