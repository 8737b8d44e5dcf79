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

/// List audit events
///
/// Newest first. An event is listed if it matches all filters.
#[utoipa::path(
    get,
    path = "/admin/audit-events",
    operation_id = "list_audit_events",
    tag = "audit",
    security(("oauth2" = ["audit:read"]), ("bearer" = [])),
    params(
        ("actor" = Option<String>, Query, description = "Id of the user or client that performed the action"),
        ("subject" = Option<String>, Query, description = "Target of the action: the id of a user, client or key, or the name of a role or scope"),
        ("kind" = Option<String>, Query, description = "Kind of event, for example `login.failed`"),
        ("since" = Option<String>, Query, description = "Earliest time (RFC 3339), for example `2026-01-31T12:00:00Z`", format = DateTime),
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
