//! `GET /revocations`: the revocation feed.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{Cursor, Item, page};
use crate::{
    app::App,
    error::{Code, Error, FieldError},
    http::{
        body::Members,
        no_store,
        problem::{Problem, ProblemBody},
        query::Query,
    },
    principal::Watcher,
    store::changes::{self, Changes},
};

/// Version of the JWK set: a client that caches the keys fetches them again when it changes.
const KEYS_HEADER: &str = "Grantd-Keys";

/// A page of the revocation feed.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Revocations)]
pub(crate) struct Answer {
    items: Vec<Shown>,
    /// Cursor for the parameter `after` of the next request.
    next: String,
}

/// A revocation.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Revocation)]
struct Shown {
    /// What was revoked: `session`, `user`, `client` or `token`.
    #[schema(example = "session")]
    kind: &'static str,
    /// The `sid`, `sub`, `client_id` or `jti` of the revoked tokens.
    id: String,
    /// When it was revoked. For a user or a client, tokens that were issued later are valid.
    revoked_at: DateTime<Utc>,
    /// When the last revoked token has expired: the item can be dropped then.
    expires_at: DateTime<Utc>,
}

struct FeedRequest {
    after: Option<Cursor>,
    wait: Duration,
    limit: i64,
}

impl FeedRequest {
    fn read(req: &HttpRequest) -> Result<Self, Error> {
        let query = Query::of(req)?;
        let refused = || FieldError::new("after", Code::Unknown, "no cursor of this feed: begin without one");
        let mut members = Members::default();
        let after = members.parameter(&query, "after", |text| Cursor::parse(text).ok_or_else(refused));
        let wait = members.optional(Some(query.number("wait", 0, 0..=30)));
        let limit = members.optional(Some(query.number("limit", 50, 1..=200)));
        let (wait, limit) = members.finish(wait.zip(limit))?;
        Ok(Self { after, wait: Duration::from_secs(wait.unsigned_abs()), limit })
    }
}

/// List revocations
///
/// The revocation feed, oldest first, for services that verify tokens offline. With `wait`, it is a long poll.
/// Requires the scope `tokens:introspect`, or a confidential client with HTTP Basic. The header `Grantd-Keys` is the version of the
/// JWK set: fetch the keys again when it changes.
#[utoipa::path(
    get,
    path = "/revocations",
    operation_id = "revocations",
    tag = "tokens",
    security(("oauth2" = ["tokens:introspect"]), ("bearer" = []), ("client" = [])),
    params(
        ("after" = Option<String>, Query, description = "`next` of the previous response. Starts with the oldest revocation if absent"),
        ("wait" = Option<u32>, Query, description = "Seconds to wait for new revocations", minimum = 0, maximum = 30),
        ("limit" = Option<u32>, Query, description = "Maximum number of items, 50 by default", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "The revocations after the cursor", body = Answer, headers(("Grantd-Keys" = String))),
        (status = 400, description = "More than one token, or a malformed `Authorization` header", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "Missing or invalid credentials", body = ProblemBody, content_type = "application/problem+json", headers(("WWW-Authenticate" = String))),
        (status = 403, description = "Missing scope `tokens:introspect`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Parameter out of range, or unknown cursor: start again without `after`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Database unavailable", body = ProblemBody, content_type = "application/problem+json", headers(("Retry-After" = u32))),
    )
)]
pub(crate) async fn list(_watcher: Watcher, app: web::Data<App>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let request = FeedRequest::read(&req)?;
    let deadline = Instant::now() + request.wait;
    loop {
        // Subscribe before reading: a revocation in between must end the wait.
        let mut news = app.sync.subscribe();
        let (head, items) = read(&app, &request).await?;
        let waits =
            items.is_empty() && request.after.as_ref().is_some_and(|after| after.signing_keys == head.signing_keys);
        if !waits || Instant::now() >= deadline || app.is_stopping() {
            return Ok(answer(&request, &head, items));
        }
        tokio::select! {
            _ = news.changed() => {}
            () = sleep_until(deadline) => {}
            () = app.stopping() => {}
        }
    }
}

/// Reads the head before the items: all revocations up to the head are committed by then.
async fn read(app: &App, request: &FeedRequest) -> Result<(Changes, Vec<Item>), Error> {
    let mut conn = app.store.read().await?;
    let head = changes::read(&mut conn).await?;
    if let Some(after) = &request.after
        && !after.is_known(&mut conn, &head).await?
    {
        return Err(Error::invalid("after", Code::Unknown, "no cursor of this feed: begin without one"));
    }
    let after = request.after.as_ref().map_or(0, |after| after.number);
    Ok((head, page(&mut conn, after, request.limit, app.now()).await?))
}

fn answer(request: &FeedRequest, head: &Changes, items: Vec<Item>) -> HttpResponse {
    let is_whole = i64::try_from(items.len()).is_ok_and(|count| count < request.limit);
    let place = match items.last() {
        Some(last) if !is_whole || last.number > head.revocations => (last.number, last.mark.clone()),
        _ => (head.revocations, head.revocation_mark.clone()),
    };
    let next = Cursor { number: place.0, mark: place.1, signing_keys: head.signing_keys }.to_string();
    let items = items.into_iter().map(|item| Shown {
        kind: item.kind.as_str(),
        id: item.id,
        revoked_at: item.revoked_at,
        expires_at: item.expires_at,
    });
    no_store(StatusCode::OK)
        .insert_header((KEYS_HEADER, head.signing_keys.to_string()))
        .json(Answer { items: items.collect(), next })
}
