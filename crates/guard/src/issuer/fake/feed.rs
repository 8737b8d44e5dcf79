//! The feed of revocations of the test issuer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Returns an item of the feed that is revoked at the time of the tests and expires much later.
pub(crate) fn revoked(kind: &str, id: &str) -> Value {
    json!({"kind": kind, "id": id, "revoked_at": "2027-01-15T08:00:00.5Z", "expires_at": "2030-01-01T00:00:00Z"})
}

#[derive(Clone)]
pub(crate) struct Feed(Arc<watch::Sender<Script>>);

/// The responses of the feed, and the requests that it got.
#[derive(Clone)]
pub(crate) struct Script {
    endpoint: Option<String>,
    items: Vec<Value>,
    /// The version of the feed: cursors of another version are refused.
    generation: usize,
    status: u16,
    keys: Option<&'static str>,
    held: bool,
    open: usize,
    asked: Vec<Asked>,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) authorization: String,
    pub(crate) query: HashMap<String, String>,
}

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Script {
            endpoint: None,
            items: Vec::new(),
            generation: 0,
            status: 200,
            keys: None,
            held: false,
            open: 0,
            asked: Vec::new(),
        })))
    }
}

impl Feed {
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.0.borrow().endpoint.clone()
    }

    pub(crate) fn set_endpoint(&self, endpoint: Option<String>) {
        self.0.send_modify(|script| script.endpoint = endpoint);
    }

    pub(crate) fn add(&self, items: impl IntoIterator<Item = Value>) {
        self.0.send_modify(|script| script.items.extend(items));
    }

    /// Replaces the feed by one with these items, for which old cursors are unknown.
    pub(crate) fn replace(&self, items: impl IntoIterator<Item = Value>) {
        self.0.send_modify(|script| {
            script.items = items.into_iter().collect();
            script.generation += 1;
        });
    }

    /// Sets the response from now on, also for waiting requests.
    pub(crate) fn set_status(&self, status: u16) {
        self.0.send_modify(|script| script.status = status);
    }

    pub(crate) fn set_keys(&self, keys: Option<&'static str>) {
        self.0.send_modify(|script| script.keys = keys);
    }

    /// Delays responses while it is held.
    pub(crate) fn hold(&self, held: bool) {
        self.0.send_modify(|script| script.held = held);
    }

    /// Returns the number of requests that wait for a response.
    pub(crate) fn open(&self) -> usize {
        self.0.borrow().open
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.borrow().asked.clone()
    }
}

/// Counts a request until it is dropped.
struct Open(Feed);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.send_modify(|script| script.open -= 1);
    }
}

pub(super) async fn answer(
    req: HttpRequest,
    query: web::Query<HashMap<String, String>>,
    feed: web::Data<Feed>,
) -> HttpResponse {
    let authorization = req.headers().get("Authorization").unwrap().to_str().unwrap().to_owned();
    let query = query.into_inner();
    feed.0.send_modify(|script| {
        script.open += 1;
        script.asked.push(Asked { authorization, query: query.clone() });
    });
    let _open = Open(feed.as_ref().clone());
    let keys_before = feed.0.borrow().keys;
    let done = |script: &Script| {
        let is_news = script.after(&query).is_none_or(|left| !left.is_empty());
        !script.held && (is_news || script.status != 200 || script.keys != keys_before)
    };
    let wait = Duration::from_secs(query["wait"].parse().unwrap());
    let mut changes = feed.0.subscribe();
    tokio::time::timeout(wait, changes.wait_for(done)).await.map(drop).ok();
    changes.wait_for(|script| !script.held).await.unwrap();
    feed.0.borrow().page(&query)
}

impl Script {
    /// Returns the items after the cursor of a query. `None`: the cursor is refused.
    fn after(&self, query: &HashMap<String, String>) -> Option<&[Value]> {
        let Some(cursor) = query.get("after") else { return Some(&self.items) };
        let (generation, seen) = cursor.split_once('/').unwrap();
        (generation == self.generation.to_string()).then(|| &self.items[seen.parse().unwrap()..])
    }

    fn page(&self, query: &HashMap<String, String>) -> HttpResponse {
        let mut answer = HttpResponse::build(StatusCode::from_u16(self.status).unwrap());
        if let Some(keys) = self.keys {
            answer.insert_header(("Grantd-Keys", keys));
        }
        let Some(left) = self.after(query) else { return HttpResponse::UnprocessableEntity().finish() };
        let limit: usize = query["limit"].parse().unwrap();
        let page = &left[..limit.min(left.len())];
        let seen = self.items.len() - left.len() + page.len();
        answer.json(json!({"items": page, "next": format!("{}/{seen}", self.generation)}))
    }
}
