//! `GET /admin/audit-events`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};

use super::{Filter, Recorded};
use crate::{
    app::App,
    error::{Error, FieldError},
    http::{
        no_store,
        page::{Asked, Page},
        problem::Problem,
        query::Query,
    },
    ids::EventId,
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
        ("since" = Option<String>, Query, description = "The earliest, as RFC 3339 has it", format = DateTime, example = "2026-01-31T12:00:00Z"),
        ("limit" = Option<u32>, Query, description = "How many at most; 50 when absent", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before", example = "AZwT7J4AfE-aPm8bHAydUg"),
    ),
    responses((status = 200, description = "A page of events", body = Page<Recorded>)),
)]
pub(crate) async fn list(_: Permit<AuditRead>, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req)?;
    let (asked, before, filter) = match (page(&query), filter(&query)) {
        (Ok((asked, before)), Ok(filter)) => (asked, before, filter),
        (page, filter) => {
            return Err(Error::Invalid([page.err(), filter.err()].into_iter().flatten().flatten().collect()).into());
        }
    };
    let events = super::list(&app, &filter, before, asked.to_read()).await?;
    Ok(no_store(StatusCode::OK).json(asked.page(events, |event| *event.id.as_bytes())))
}

fn page(query: &Query) -> Result<(Asked, Option<EventId>), Vec<FieldError>> {
    let asked = Asked::of(query)?;
    let before = asked.after(|key| Some(EventId::from(<[u8; 16]>::try_from(key).ok()?)));
    Ok((asked, before.map_err(|error| vec![error])?))
}

fn filter(query: &Query) -> Result<Filter, Vec<FieldError>> {
    let actor = query.one("actor");
    let subject = query.one("subject");
    let kind = query.one("kind").and_then(|kind| kind.map(super::kind).transpose());
    let since = query.one("since").and_then(|since| since.map(super::since).transpose());
    match (actor, subject, kind, since) {
        (Ok(actor), Ok(subject), Ok(kind), Ok(since)) => {
            Ok(Filter { actor: actor.map(str::to_owned), subject: subject.map(str::to_owned), kind, since })
        }
        (actor, subject, kind, since) => {
            Err([actor.err(), subject.err(), kind.err(), since.err()].into_iter().flatten().collect())
        }
    }
}
