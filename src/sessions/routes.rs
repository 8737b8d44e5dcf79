//! `/users/me/sessions`: the sessions of the current user.

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

/// List the current user's sessions
///
/// The active sessions, oldest login first. `current` marks the session of the token of the request.
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
        session.current = Some(Some(session.id) == me.session);
    }
    Ok(no_store(StatusCode::OK).json(request.page(sessions, |session| *session.id.as_bytes())))
}

/// End one of the current user's sessions
///
/// Revokes all tokens of the session.
#[utoipa::path(
    delete,
    path = "/users/me/sessions/{id}",
    operation_id = "end_own_session",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The id of the session")),
    responses(
        (status = 204, description = "Session ended"),
        (status = 404, description = "Session not found, already ended, or of another user"),
    )
)]
pub(crate) async fn end(me: Me, app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let session = SessionId::parse(&id).ok_or_else(|| super::not_found(id.as_str()))?;
    let (user, origin, now) = (me.user.id, &me.authority.origin, app.now());
    app.write(async |tx| super::end_own(tx, user, session, origin, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}
