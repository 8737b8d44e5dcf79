//! OAuth clients: their creation, secrets, tokens and deletion.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Outcome,
    ended::Ended,
    http::Request,
    model::HORIZON,
    session::text,
    worker::{Said, Worker, lie},
};

/// How long after a client was disabled its new tokens may be revoked with the earlier ones: 5 s (`MARGIN` of
/// `src/clients/write.rs`) and the rest of a second.
const MARGIN: Duration = Duration::from_secs(7);

pub(crate) struct Registration {
    id: String,
    exists: bool,
    enabled: bool,
    /// `None`: nobody knows it, since the answer was lost.
    secret: Option<String>,
    /// The secret before, which must not work any more.
    old: Option<String>,
    /// An access token that works as long as the client is enabled.
    access: Option<String>,
    /// When the client was last disabled or enabled.
    switched: Option<Instant>,
    /// A change without an answer, and when it can be observed.
    pending: Option<(Instant, Change)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Enable(bool),
    Rotate,
    Delete,
}

impl Registration {
    pub(crate) fn new(worker: &mut Worker) -> Self {
        let id = worker.name("client");
        Self { id, exists: false, enabled: true, secret: None, old: None, access: None, switched: None, pending: None }
    }

    pub(crate) fn step(&mut self, worker: &mut Worker) -> Outcome<()> {
        if let Some((due, change)) = self.pending {
            return if Instant::now() < due { Ok(()) } else { self.settle(worker, change) };
        }
        match worker.random.below(100) {
            _ if !self.exists => self.change(worker, Change::Create),
            _ if self.secret.is_none() => self.change(worker, Change::Rotate),
            0..=3 => self.change(worker, Change::Enable(!self.enabled)),
            4..=7 => self.change(worker, Change::Rotate),
            8..=10 => self.change(worker, Change::Delete),
            11..=40 => self.use_token(worker, None),
            _ => self.probe(worker, None),
        }
    }

    fn path(&self) -> String {
        format!("/admin/clients/{}", self.id)
    }

    fn change(&mut self, worker: &mut Worker, change: Change) -> Outcome<()> {
        let path = self.path();
        let request = match change {
            Change::Create => {
                worker.admin("POST", "/admin/clients").json(&json!({"client_id": self.id, "name": "A client",
                "type": "confidential", "grant_types": ["client_credentials"], "scopes": ["users:read"]}))
            }
            Change::Enable(enabled) => worker.admin("PATCH", &path).json(&json!({"disabled": !enabled})),
            Change::Rotate => worker.admin("POST", &format!("{path}/secret")).json(&json!({})),
            Change::Delete => worker.admin("DELETE", &path),
        };
        match worker.ask(&request)? {
            Said::Done(body) => {
                let secret = text(&body, "client_secret");
                if secret.is_none() && matches!(change, Change::Create | Change::Rotate) {
                    return Err(lie(&request, "a secret", &body));
                }
                self.is_done(worker, change, secret);
            }
            Said::Refused(status, body) => return Err(lie(&request, "a success", &(status, body))),
            Said::Unknown => self.pending = Some((Instant::now() + HORIZON, change)),
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Updates the model.
    fn is_done(&mut self, worker: &mut Worker, change: Change, secret: Option<String>) {
        match change {
            Change::Create => (self.exists, self.secret) = (true, secret),
            Change::Enable(enabled) => {
                (self.enabled, self.switched) = (enabled, Some(Instant::now()));
                if !enabled {
                    self.bury_token(worker);
                }
            }
            Change::Rotate => {
                self.old = self.secret.take().or(self.old.take());
                self.secret = secret;
            }
            Change::Delete => {
                self.bury_token(worker);
                let request = self.secret.as_ref().map(|secret| self.token(secret));
                worker.bury(Ended::client(worker, &self.path(), request));
                *self = Self::new(worker);
            }
        }
    }

    /// Remembers that the access token is revoked.
    fn bury_token(&mut self, worker: &mut Worker) {
        if let Some(access) = self.access.take() {
            worker.bury(Ended::client_token(worker, &access, users()));
        }
    }

    /// Observes what came of a change.
    fn settle(&mut self, worker: &mut Worker, change: Change) -> Outcome<()> {
        let request = worker.admin("GET", &self.path());
        let (exists, disabled) = match worker.ask(&request)? {
            Said::Done(body) => (true, body["disabled"] == true),
            Said::Refused(404, _) => (false, false),
            Said::Refused(status, body) => return Err(lie(&request, "the client, or 404", &(status, body))),
            Said::Unknown | Said::Unsent => return Ok(()),
        };
        let is_done = match change {
            Change::Create => exists,
            Change::Enable(enabled) => disabled != enabled,
            Change::Rotate => match (&self.secret, self.enabled) {
                (Some(secret), true) => match worker.ask(&self.token(secret))? {
                    Said::Done(_) => false,
                    Said::Refused(401, _) => true,
                    Said::Refused(..) | Said::Unknown | Said::Unsent => return Ok(()),
                },
                // Whether a secret works cannot be seen; the next rotation replaces it.
                _ => true,
            },
            Change::Delete => !exists,
        };
        if change != Change::Create && change != Change::Delete && !exists {
            return Err(lie(&request, "the client", &"404"));
        }
        self.pending = None;
        if is_done {
            if change == Change::Rotate && !self.enabled {
                // It may be either.
                self.old = None;
                self.secret = None;
            } else {
                self.is_done(worker, change, None);
            }
        }
        Ok(())
    }

    fn token(&self, secret: &str) -> Request {
        Request::new("POST", "/token").basic(&self.id, secret).form(&[("grant_type", "client_credentials")])
    }

    /// Asks for a token. Clients are read from the database here.
    fn probe(&mut self, worker: &mut Worker, replica: Option<usize>) -> Outcome<()> {
        let secrets = [(&self.secret, self.exists && self.enabled), (&self.old, false)];
        let mut access = None;
        for (secret, works) in secrets {
            let Some(secret) = secret else { continue };
            let request = self.token(secret);
            match worker.ask_of(replica, &request)? {
                Said::Done(body) if works => {
                    access = Some(text(&body, "access_token").ok_or_else(|| lie(&request, "an access token", &body))?);
                }
                Said::Refused(401, _) if !works => {}
                Said::Done(body) => return Err(lie(&request, "401", &body)),
                Said::Refused(status, body) => return Err(lie(&request, &format!("works: {works}"), &(status, body))),
                Said::Unknown | Said::Unsent => {}
            }
        }
        if self.switched.is_none_or(|switched| switched.elapsed() > MARGIN) {
            self.access = access.or(self.access.take());
        }
        Ok(())
    }

    /// Uses an access token. Another server may not know yet that the client is enabled again.
    fn use_token(&self, worker: &mut Worker, replica: Option<usize>) -> Outcome<()> {
        let (Some(access), asked) = (&self.access, Instant::now()) else { return Ok(()) };
        let request = users().bearer(access);
        match worker.ask_of(replica, &request)? {
            Said::Refused(..) if self.switched.is_some_and(|switched| worker.may_be_stale(switched, asked)) => Ok(()),
            Said::Refused(status, body) => Err(lie(&request, "a list of users", &(status, body))),
            Said::Done(_) | Said::Unknown | Said::Unsent => Ok(()),
        }
    }

    pub(crate) fn finish(&mut self, worker: &mut Worker) -> Outcome<()> {
        while let Some((due, change)) = self.pending {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.settle(worker, change)?;
        }
        for replica in 0..worker.cluster.replicas.len() {
            self.probe(worker, Some(replica))?;
            self.use_token(worker, Some(replica))?;
        }
        Ok(())
    }
}

/// Returns a request that the clients' scope allows.
fn users() -> Request {
    Request::new("GET", "/admin/users?limit=1")
}
