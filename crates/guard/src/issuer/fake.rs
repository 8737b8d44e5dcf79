//! An issuer for tests: an HTTP server that can be stopped, changed and delayed, and that counts requests.

mod feed;
mod introspection;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(crate) use self::{
    feed::{Feed, revoked},
    introspection::Introspection,
};
use crate::{Guard, GuardBuilder, testing::NOW};

/// The responses of the issuer, and the number of requests.
pub(crate) struct Script {
    /// The `iss` of tokens and metadata.
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    /// The path of the metadata.
    pub(crate) metadata_path: String,
    pub(crate) jwks: String,
    pub(crate) status: u16,
    pub(crate) cache_control: &'static str,
    pub(crate) metadata_hits: usize,
    pub(crate) jwks_hits: usize,
    /// The `Cache-Control` of the last request for keys.
    pub(crate) keys_asked_with: Option<String>,
    /// `traceparent` of each request.
    traces: Vec<Option<String>>,
}

pub(crate) struct FakeIssuer {
    address: SocketAddr,
    pub(crate) script: Arc<Mutex<Script>>,
    /// The feed of revocations.
    pub(crate) feed: Feed,
    pub(crate) introspection: Introspection,
    /// A permit for each response: without one, the response waits.
    gate: Arc<Semaphore>,
    handle: Option<ServerHandle>,
    /// The clock of the guards of this issuer.
    pub(crate) clock: Arc<AtomicI64>,
}

impl FakeIssuer {
    pub(crate) fn start() -> Self {
        Self::start_at("")
    }

    /// Starts an issuer with a path in its URL.
    pub(crate) fn start_at(path: &str) -> Self {
        let script = Arc::new(Mutex::new(Script {
            issuer: String::new(),
            jwks_uri: String::new(),
            metadata_path: format!("/.well-known/oauth-authorization-server{path}"),
            jwks: String::new(),
            status: 200,
            cache_control: "public, max-age=300",
            metadata_hits: 0,
            jwks_hits: 0,
            keys_asked_with: None,
            traces: Vec::new(),
        }));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let clock = Arc::new(AtomicI64::new(NOW));
        let mut issuer = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            script,
            feed: Feed::default(),
            introspection: Introspection::default(),
            gate,
            handle: None,
            clock,
        };
        issuer.serve();
        {
            let mut script = issuer.script.lock().unwrap();
            script.issuer = format!("http://{}{path}", issuer.address);
            script.jwks_uri = format!("http://{}/jwks", issuer.address);
            issuer.feed.set_endpoint(Some(format!("http://{}/revocations", issuer.address)));
        }
        issuer
    }

    /// Listens on a free port, or again on the previous one.
    pub(crate) fn serve(&mut self) {
        let (script, gate, feed) = (Arc::clone(&self.script), Arc::clone(&self.gate), self.feed.clone());
        let introspection = self.introspection.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(Arc::clone(&script)))
                .app_data(web::Data::from(Arc::clone(&gate)))
                .app_data(web::Data::new(feed.clone()))
                .app_data(web::Data::new(introspection.clone()))
                .route("/revocations", web::get().to(feed::answer))
                .route("/introspect", web::post().to(introspection::answer))
                .default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals()
        .bind(self.address)
        .unwrap();
        self.address = server.addrs()[0];
        let server = server.run();
        self.handle = Some(server.handle());
        actix_web::rt::spawn(server);
    }

    pub(crate) async fn stop(&mut self) {
        self.handle.take().unwrap().stop(false).await;
    }

    pub(crate) fn publish(&self, keys: impl IntoIterator<Item = Value>) {
        self.script.lock().unwrap().jwks = json!({"keys": keys.into_iter().collect::<Vec<_>>()}).to_string();
    }

    pub(crate) fn url(&self) -> String {
        self.script.lock().unwrap().issuer.clone()
    }

    pub(crate) fn builder(&self) -> GuardBuilder {
        let clock = Arc::clone(&self.clock);
        Guard::from_issuer(self.url()).audience(self.url()).clock(move || clock.load(Ordering::SeqCst))
    }

    /// Returns claims of a token of this issuer.
    pub(crate) fn claims(&self) -> Value {
        json!({"iss": self.url(), "aud": self.url(), "exp": NOW + 100_000})
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Delays all responses until `release`.
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Sends all delayed responses.
    pub(crate) fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Returns the `traceparent` of each request for the metadata and for the keys.
    pub(crate) fn traces(&self) -> Vec<Option<String>> {
        self.script.lock().unwrap().traces.clone()
    }

    /// Returns the number of requests for the metadata and for the keys.
    pub(crate) fn hits(&self) -> (usize, usize) {
        let script = self.script.lock().unwrap();
        (script.metadata_hits, script.jwks_hits)
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // The command is sent by the call; the future only waits for the end.
            drop(handle.stop(false));
        }
    }
}

async fn answer(
    req: HttpRequest,
    script: web::Data<Mutex<Script>>,
    feed: web::Data<Feed>,
    gate: web::Data<Semaphore>,
) -> HttpResponse {
    let (status, cache_control, body) = {
        let mut script = script.lock().unwrap();
        let trace = req.headers().get("traceparent");
        script.traces.push(trace.map(|value| value.to_str().unwrap().to_owned()));
        let body = if req.path() == script.metadata_path {
            script.metadata_hits += 1;
            let mut metadata = json!({"issuer": script.issuer, "jwks_uri": script.jwks_uri});
            metadata["introspection_endpoint"] = script.jwks_uri.replace("/jwks", "/introspect").into();
            if let Some(endpoint) = feed.endpoint() {
                metadata["revocations_endpoint"] = json!(endpoint);
            }
            metadata.to_string()
        } else if req.path() == "/jwks" {
            script.jwks_hits += 1;
            let said = req.headers().get("Cache-Control");
            script.keys_asked_with = said.map(|value| value.to_str().unwrap().to_owned());
            script.jwks.clone()
        } else {
            return HttpResponse::NotFound().finish();
        };
        (script.status, script.cache_control, body)
    };
    gate.acquire().await.unwrap().forget();
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    HttpResponse::build(status)
        .insert_header(("Cache-Control", cache_control))
        .insert_header(("Location", "/jwks"))
        .body(body)
}
