//! What has ended: sessions, and deleted users, API keys and clients. What they allowed must be refused from then on.

use std::time::Instant;

use serde_json::json;

use crate::{
    Outcome,
    http::Request,
    worker::{Said, Worker, lie},
};

pub(crate) struct Ended {
    kind: Kind,
    /// When the answer that ended it arrived.
    pub(crate) since: Instant,
    checks: Vec<Check>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    ApiKey,
    User,
    Client,
}

/// A request that must be refused.
#[derive(Clone)]
struct Check {
    request: Request,
    refusal: Refusal,
    /// Whether it depends on the last sync of the server, and not on the database.
    lags: bool,
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Status(u16),
    /// A status with an OAuth error.
    OAuth(u16, &'static str),
    /// 200 with nothing but `active: false`.
    Inactive,
}

impl Ended {
    pub(crate) fn session(worker: &Worker, access: &str, refresh: &str) -> Self {
        let request =
            Request::new("POST", "/token").form(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]);
        let mut checks = access_token(worker, access, Request::new("GET", "/users/me"));
        checks.push(Check::new(request, Refusal::OAuth(400, "invalid_grant")));
        checks.push(Check::new(worker.introspection(refresh), Refusal::Inactive));
        Self::new(Kind::Session, checks)
    }

    /// `deletion`: the request that deleted it.
    pub(crate) fn api_key(worker: &Worker, key: &str, deletion: Request) -> Self {
        let request = Request::new("GET", "/users/me").api_key(key);
        let checks = vec![
            Check::new(request, Refusal::Status(401)),
            Check::new(worker.introspection(key), Refusal::Inactive),
            Check::new(deletion, Refusal::Status(404)),
        ];
        Self::new(Kind::ApiKey, checks)
    }

    /// `path`: where the administrator read it. `login`: with its last password.
    pub(crate) fn user(worker: &Worker, path: &str, login: Request) -> Self {
        let checks = vec![
            Check::new(worker.admin("GET", path), Refusal::Status(404)),
            Check::new(login, Refusal::OAuth(400, "invalid_grant")),
        ];
        Self::new(Kind::User, checks)
    }

    /// `path`: where the administrator read it. `token`: the request for a token with its last secret.
    pub(crate) fn client(worker: &Worker, path: &str, token: Option<Request>) -> Self {
        let mut checks = vec![Check::new(worker.admin("GET", path), Refusal::Status(404))];
        checks.extend(token.map(|token| Check::new(token, Refusal::OAuth(401, "invalid_client"))));
        Self::new(Kind::Client, checks)
    }

    /// The access token of a client that was disabled or deleted, and a request that it allowed.
    pub(crate) fn client_token(worker: &Worker, access: &str, request: Request) -> Self {
        Self::new(Kind::Client, access_token(worker, access, request))
    }

    fn new(kind: Kind, checks: Vec<Check>) -> Self {
        Self { kind, since: Instant::now(), checks }
    }

    /// Sends all requests to a server.
    pub(crate) fn check(&self, worker: &mut Worker, replica: usize) -> Outcome<()> {
        self.checks.iter().try_for_each(|check| check.send(worker, Some(replica), self.since))
    }
}

impl Check {
    fn new(request: Request, refusal: Refusal) -> Self {
        Self { request, refusal, lags: false }
    }

    fn send(&self, worker: &mut Worker, replica: Option<usize>, since: Instant) -> Outcome<()> {
        let asked = Instant::now();
        let expected = || format!("{:?}, as it has ended", self.refusal);
        match (worker.ask_of(replica, &self.request)?, self.refusal) {
            (Said::Unknown | Said::Unsent, _) => Ok(()),
            (Said::Done(body), Refusal::Inactive) if body == json!({"active": false}) => Ok(()),
            (Said::Done(_), _) if self.lags && worker.may_be_stale(since, asked) => Ok(()),
            (Said::Done(body), _) => Err(lie(&self.request, &expected(), &body)),
            (Said::Refused(got, _), Refusal::Status(status)) if got == status => Ok(()),
            (Said::Refused(got, body), Refusal::OAuth(status, error)) if got == status && body["error"] == error => {
                Ok(())
            }
            (Said::Refused(status, body), _) => Err(lie(&self.request, &expected(), &(status, body))),
        }
    }
}

/// Returns the checks of an access token that is revoked, with a request that it allowed.
fn access_token(worker: &Worker, access: &str, request: Request) -> Vec<Check> {
    vec![
        Check { lags: true, ..Check::new(request.bearer(access), Refusal::Status(401)) },
        Check { lags: true, ..Check::new(worker.introspection(access), Refusal::Inactive) },
    ]
}

/// The latest things of a worker that have ended.
#[derive(Default)]
pub(crate) struct AllEnded(Vec<Ended>);

impl AllEnded {
    /// Adds one, and drops the oldest if there are too many of its kind.
    pub(crate) fn add(&mut self, ended: Ended) {
        let most = if ended.kind == Kind::Session { 200 } else { 16 };
        let is_same = |other: &Ended| other.kind == ended.kind;
        if self.0.iter().filter(|other| is_same(other)).count() == most
            && let Some(oldest) = self.0.iter().position(is_same)
        {
            self.0.remove(oldest);
        }
        self.0.push(ended);
    }

    /// Returns all, the oldest first.
    pub(crate) fn take(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.0)
    }
}

/// Sends a random one of the requests that must be refused.
pub(crate) fn probe(worker: &mut Worker) -> Outcome<()> {
    if worker.ended.0.is_empty() {
        return Ok(());
    }
    let which = worker.random.below(worker.ended.0.len());
    let (checks, since) = (&worker.ended.0[which].checks, worker.ended.0[which].since);
    let check = checks[worker.random.below(checks.len())].clone();
    check.send(worker, None, since)
}
