//! `/users/me/export`: a copy of the current user's data.

use actix_web::{HttpResponse, http::StatusCode, web};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::me::MeAnswer;
use crate::{
    api_keys::{self, ApiKey},
    app::App,
    audit::{self, Recorded},
    http::{no_store, problem::Problem},
    principal::Me,
    sessions::{self, LiveSession},
};

/// The maximum number of sessions, of API keys and of audit events.
const MOST: usize = 1000;

/// The data that the server has about the current user.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MyData)]
pub(crate) struct Data<'a> {
    /// When this was read.
    exported_at: DateTime<Utc>,
    user: MeAnswer<'a>,
    /// Active sessions, oldest login first, at most 1,000.
    sessions: Vec<LiveSession>,
    /// API keys, without the keys themselves, oldest first, at most 1,000.
    api_keys: Vec<ApiKey>,
    /// Audit events about the user, newest first, at most 1,000.
    audit_events: Vec<Recorded>,
    /// Whether there is more than this has: one of the lists reached its maximum.
    truncated: bool,
}

/// Export the current user's data
///
/// The profile, active sessions, API keys and audit events about the user. Each list has at most 1,000 entries, of the audit
/// events the newest; `truncated` says whether there are more.
#[utoipa::path(
    get,
    path = "/users/me/export",
    operation_id = "export_me",
    tag = "account",
    security(("oauth2" = ["account"]), ("bearer" = [])),
    responses((status = 200, description = "The data", body = Data<'_>))
)]
pub(crate) async fn export(me: Me, app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let (id, now) = (me.user.id, app.now());
    // One more than the maximum tells whether there are more.
    let limit = i64::try_from(MOST + 1).unwrap_or(i64::MAX);
    let (mut sessions, mut api_keys) = {
        let conn = &mut app.store.read().await?;
        (sessions::list_of_user(conn, id, None, limit, now).await?, api_keys::list(conn, id, None, limit).await?)
    };
    // After the connection was returned: this takes one of its own.
    let filter = audit::Filter { subject: Some(id.to_string()), ..audit::Filter::default() };
    let mut audit_events = audit::list(&app.store, &filter, None, limit).await?;
    let truncated = [sessions.len(), api_keys.len(), audit_events.len()].iter().any(|length| *length > MOST);
    sessions.truncate(MOST);
    api_keys.truncate(MOST);
    audit_events.truncate(MOST);
    for session in &mut sessions {
        session.current = Some(Some(session.id) == me.session);
    }
    let api_keys = api_keys.into_iter().map(|key| key.with_audience(&app.audience)).collect();
    let user = MeAnswer::from(&*me.user);
    Ok(no_store(StatusCode::OK).json(Data { exported_at: now, user, sessions, api_keys, audit_events, truncated }))
}
