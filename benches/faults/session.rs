//! Sessions: refreshes, retries, reuse, logouts, and the use of their tokens.

use std::time::Instant;

use serde_json::Value;

use crate::{
    Outcome,
    account::Account,
    ended::Ended,
    http::Request,
    model::HORIZON,
    worker::{Said, Worker, lie},
};

/// How often a request that ends a session is repeated until it is answered.
const TRIES: u32 = 200;

/// A live session.
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// The two refresh tokens before, the older one first.
    before: Vec<String>,
    /// The last refresh was not answered: the token may be used up, and must still work.
    pub(crate) in_doubt: bool,
    /// Until then, a request with an earlier token may be under way. If the current one was used meanwhile, that request would
    /// count as reuse.
    rests_until: Option<Instant>,
}

/// What ends a session.
enum End {
    Logout,
    Reuse,
}

impl Session {
    /// Returns the session of a login.
    pub(crate) fn of(login: &Value) -> Option<Self> {
        let (access, refresh) = (text(login, "access_token")?, text(login, "refresh_token")?);
        Some(Self { access, refresh, before: Vec::new(), in_doubt: false, rests_until: None })
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Uses the refresh token; `Err`: a lie.
    pub(crate) fn refresh(&mut self, worker: &mut Worker, account: &Account, replica: Option<usize>) -> Outcome<()> {
        if self.rests() {
            return Ok(());
        }
        let request = refresh(&self.refresh);
        match worker.ask_of(replica, &request)? {
            Said::Done(body) => {
                self.advance(worker, account, &request, &body)?;
                if std::mem::take(&mut self.in_doubt) {
                    self.rests_until = Some(Instant::now() + HORIZON);
                }
            }
            Said::Refused(status, body) => return Err(lie(&request, "the next token", &(status, body))),
            Said::Unknown => self.in_doubt = true,
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Takes the next token from an answer.
    fn advance(&mut self, worker: &Worker, account: &Account, request: &Request, body: &Value) -> Outcome<()> {
        let (Some(access), Some(next)) = (text(body, "access_token"), text(body, "refresh_token")) else {
            return Err(lie(request, "tokens", body));
        };
        if next == self.refresh || !account.may_have_scope(&worker.role, &body["scope"]) {
            return Err(lie(request, "the next token with the scope of the account", body));
        }
        if self.before.len() == 2 {
            self.before.remove(0);
        }
        self.before.push(std::mem::replace(&mut self.refresh, next));
        self.access = access;
        Ok(())
    }

    /// Presents the previous token, as after a lost answer: the current one must come back, the same to the byte.
    pub(crate) fn retry(&mut self, worker: &mut Worker) -> Outcome<()> {
        let Some(previous) = self.before.last().filter(|_| !self.in_doubt && !self.rests()) else { return Ok(()) };
        let request = refresh(previous);
        match worker.ask(&request)? {
            Said::Done(body) => self.repeat(&request, &body)?,
            Said::Refused(status, body) => return Err(lie(&request, "the same refresh token", &(status, body))),
            Said::Unknown => self.rests_until = Some(Instant::now() + HORIZON),
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Takes an answer with the current refresh token and another access token.
    fn repeat(&mut self, request: &Request, body: &Value) -> Outcome<()> {
        if body["refresh_token"] != *self.refresh {
            return Err(lie(request, &format!("the same refresh token: {}", self.refresh), body));
        }
        self.access = text(body, "access_token").ok_or_else(|| lie(request, "an access token", body))?;
        Ok(())
    }

    /// Presents the refresh token twice at the same time. One request uses it and the other is a retry, whichever comes
    /// first: both must get the same next token.
    pub(crate) fn race(&mut self, worker: &mut Worker, account: &Account) -> Outcome<()> {
        if self.in_doubt || self.rests() {
            return Ok(());
        }
        let request = refresh(&self.refresh);
        let (mut is_used, mut is_lost) = (false, false);
        for said in worker.ask_twice(&request)? {
            match said {
                Said::Done(body) if is_used => self.repeat(&request, &body)?,
                Said::Done(body) => {
                    self.advance(worker, account, &request, &body)?;
                    is_used = true;
                }
                Said::Refused(status, body) => return Err(lie(&request, "the next token, twice", &(status, body))),
                Said::Unknown => is_lost = true,
                Said::Unsent => {}
            }
        }
        if is_lost && is_used {
            self.rests_until = Some(Instant::now() + HORIZON);
        }
        self.in_doubt = is_lost && !is_used;
        Ok(())
    }

    /// Logs out, or presents a token that was retired long ago, which ends the session. Returns the session if it did not end.
    pub(crate) fn end(self, worker: &mut Worker) -> Outcome<Option<Self>> {
        let (end, request) = match &self.before[..] {
            [oldest, _] if !self.in_doubt && !self.rests() && worker.random.one_in(3) => (End::Reuse, refresh(oldest)),
            _ => (End::Logout, Request::new("POST", "/revoke").form(&[("token", &self.refresh)])),
        };
        let mut was_sent = false;
        for _ in 0..TRIES {
            match (worker.ask(&request)?, &end) {
                (Said::Done(_), End::Logout) | (Said::Refused(400, _), End::Reuse) => {
                    worker.bury(self.ended(worker));
                    return Ok(None);
                }
                (Said::Done(body), End::Reuse) => return Err(lie(&request, "a refusal of a reused token", &body)),
                (Said::Refused(status, body), _) => {
                    return Err(lie(&request, "the end of the session", &(status, body)));
                }
                (Said::Unknown, _) => was_sent = true,
                (Said::Unsent, _) => {}
            }
        }
        // Nobody knows whether it has ended: forgotten.
        Ok((!was_sent).then_some(self))
    }

    pub(crate) fn ended(&self, worker: &Worker) -> Ended {
        Ended::session(worker, &self.access, &self.refresh)
    }

    /// Uses a token of the session.
    pub(crate) fn probe(&self, worker: &mut Worker, account: &Account, replica: Option<usize>) -> Outcome<()> {
        match worker.random.below(10) {
            0..=5 => {
                let request = Request::new("GET", "/users/me").bearer(&self.access);
                match worker.ask_of(replica, &request)? {
                    Said::Done(body) if body["username"] == *account.name => Ok(()),
                    Said::Done(body) => Err(lie(&request, &account.name, &body)),
                    Said::Refused(status, body) => Err(lie(&request, "the account of a live session", &(status, body))),
                    Said::Unknown | Said::Unsent => Ok(()),
                }
            }
            6..=7 => worker.is_active(replica, &self.access, Some(true)).map(drop),
            // Without an answer, the token may be the previous one, which is as good.
            _ => worker.is_active(replica, &self.refresh, Some(true)).map(drop),
        }
    }
}

fn refresh(token: &str) -> Request {
    Request::new("POST", "/token").form(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

pub(crate) fn text(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().map(str::to_owned)
}
