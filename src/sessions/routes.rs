//! `/users/me/sessions`: where one is logged in, and how that ends.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};

use super::LiveSession;
use crate::{
    app::App,
    error::Error,
    http::{
        no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
    },
    ids::SessionId,
    principal::Me,
};

/// Where one is logged in
///
/// One's own sessions that live, from the oldest login to the newest. `current` is the one whose token asks.
#[utoipa::path(
    get,
    path = "/users/me/sessions",
    operation_id = "list_own_sessions",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(Paging),
    responses(
        (status = 200, description = "The sessions", body = Page<LiveSession>, example = json!({
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
    let request = PageRequest::from_request(&req, List::Sessions, page::id)?;
    let conn = &mut app.store.read().await?;
    let sessions = super::list_of_user(conn, me.user.id, request.after, request.fetch_limit(), app.now()).await;
    let mut sessions = sessions.map_err(Error::from)?;
    for session in &mut sessions {
        session.current = Some(session.id == me.session);
    }
    Ok(no_store(StatusCode::OK).json(request.page(sessions, |session| *session.id.as_bytes())))
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
        (status = 404, description = "There is no such session, it is over, or it is somebody else's"),
    )
)]
pub(crate) async fn end(me: Me, app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let session = SessionId::parse(&id).ok_or_else(|| super::not_found(id.as_str()))?;
    let (user, origin, now) = (me.user.id, &me.authority.origin, app.now());
    app.write(async |tx| super::end_own(tx, user, session, origin, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
