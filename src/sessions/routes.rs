//! `/users/me/sessions`: where one is logged in, and how that ends.

use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL, web};
use serde::Serialize;

use super::LiveSession;
use crate::{
    app::App,
    error::{Code, Error, FieldError},
    http::{
        problem::{Problem, ProblemBody},
        query::Query,
    },
    ids::SessionId,
    principal::Me,
};

/// A page of sessions.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Sessions)]
struct List {
    items: Vec<LiveSession>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Where one is logged in
///
/// One's own sessions that live, from the oldest login to the newest. `current` is the one whose token asks.
#[utoipa::path(
    get,
    path = "/users/me/sessions",
    operation_id = "list_own_sessions",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200 sessions; absent: 50", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "The sessions", body = List, example = json!({
            "items": [{
                "id": "019c13f9-4a00-7a3e-9d3c-0d8a4f1b2c5e",
                "client_id": "default",
                "created_at": "2026-01-31T12:00:00Z",
                "last_used_at": "2026-02-02T08:30:00Z",
                "address": "203.0.113.7",
                "user_agent": "Mozilla/5.0 (Android 16; Mobile)",
                "current": true
            }],
            "next_cursor": null
        })),
    )
)]
pub(crate) async fn list(me: Me, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&req)?;
    let (limit, after) = match (query.number("limit", 50, 1..=200), cursor(&query)) {
        (Ok(limit), Ok(after)) => (limit, after),
        (limit, after) => return Err(Error::Invalid([limit.err(), after.err()].into_iter().flatten().collect()).into()),
    };
    let mut items = super::list_of_user(&app, me.user.id, after, limit + 1, app.now()).await?;
    for session in &mut items {
        session.current = Some(session.id == me.session);
    }
    let more = usize::try_from(limit).is_ok_and(|limit| items.len() > limit && items.pop().is_some());
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(List { items, next_cursor }))
}

fn cursor(query: &Query) -> Result<Option<SessionId>, FieldError> {
    let unknown = || FieldError::new("cursor", Code::Unknown, "is not one that was given");
    query.one("cursor")?.map(|text| SessionId::parse(text).ok_or_else(unknown)).transpose()
}

/// Log out elsewhere, or here
///
/// Ends one of one's own sessions: none of its tokens is good for anything any more.
#[utoipa::path(
    delete,
    path = "/users/me/sessions/{id}",
    operation_id = "end_own_session",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(("id" = String, Path, description = "Which", example = "019c13f9-4a00-7a3e-9d3c-0d8a4f1b2c5e")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "There is no such session, it is over, or it is somebody else's", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end(me: Me, app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let session = SessionId::parse(&id).ok_or_else(|| super::not_found(id.as_str()))?;
    super::end_own(&app, me.user.id, session, &me.origin, app.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}
