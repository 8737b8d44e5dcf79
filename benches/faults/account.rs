//! Accounts: logins, and administrative changes.

use std::{thread, time::Instant};

use serde_json::{Value, json};

use crate::{
    Outcome,
    api_key::ApiKey,
    ended::{self, Ended},
    http::Request,
    model::{Pending, State},
    role::Role,
    session::{Session, text},
    worker::{Said, Worker, lie},
};

const MOST_SESSIONS: usize = 6;
const MOST_KEYS: usize = 3;

/// An account, which only its worker changes.
pub(crate) struct Account {
    pub(crate) name: String,
    /// Empty before it is created.
    pub(crate) id: String,
    pub(crate) state: State,
    pending: Option<Pending>,
    sessions: Vec<Session>,
    keys: Vec<ApiKey>,
}

impl Account {
    pub(crate) fn new(worker: &mut Worker) -> Self {
        let name = worker.name("user");
        Self { name, id: String::new(), state: State::NONE, pending: None, sessions: Vec::new(), keys: Vec::new() }
    }

    /// Takes one random step.
    pub(crate) fn step(&mut self, worker: &mut Worker) -> Outcome<()> {
        if let Some(pending) = self.pending {
            return if Instant::now() < pending.due { Ok(()) } else { self.settle(worker, pending) };
        }
        if !self.state.exists {
            return self.create(worker);
        }
        let step = worker.random.below(1000);
        if !self.state.enabled && step.is_multiple_of(20) {
            return self.enable(worker, true);
        }
        match step {
            0..=9 => self.change_something(worker),
            10..=39 => self.log_in(worker, None),
            40..=59 => self.look(worker, None),
            60..=64 if self.keys.len() < MOST_KEYS => {
                let key = ApiKey::create(worker, self)?;
                self.keys.extend(key);
                Ok(())
            }
            65..=69 => self.delete_key(worker),
            70..=169 => self.keys.iter().try_for_each(|key| key.probe(worker, self, None)),
            170..=199 => ended::probe(worker),
            200..=209 => self.end_session(worker),
            _ => self.use_session(worker, step),
        }
    }

    fn use_session(&mut self, worker: &mut Worker, step: usize) -> Outcome<()> {
        if self.sessions.is_empty() {
            return self.log_in(worker, None);
        }
        let mut session = self.sessions.swap_remove(worker.random.below(self.sessions.len()));
        match step {
            210..=239 => session.retry(worker)?,
            240..=279 => session.race(worker, self)?,
            280..=419 => session.refresh(worker, self, None)?,
            _ => session.probe(worker, self, None)?,
        }
        self.sessions.push(session);
        Ok(())
    }

    fn end_session(&mut self, worker: &mut Worker) -> Outcome<()> {
        if let Some(session) = self.sessions.pop() {
            let kept = session.end(worker)?;
            self.sessions.extend(kept);
        }
        Ok(())
    }

    fn delete_key(&mut self, worker: &mut Worker) -> Outcome<()> {
        if !self.keys.is_empty() {
            let kept = self.keys.remove(0).delete(worker, self)?;
            self.keys.extend(kept);
        }
        Ok(())
    }

    fn create(&mut self, worker: &mut Worker) -> Outcome<()> {
        let password = password(&self.name, self.state.password);
        let request = worker.admin("POST", "/admin/users").json(&json!({"username": self.name, "password": password}));
        let after = State { exists: true, ..self.state };
        match worker.ask(&request)? {
            Said::Done(body) => {
                self.id = text(&body, "id").ok_or_else(|| lie(&request, "a user", &body))?;
                self.state = after;
            }
            Said::Refused(status, body) => return Err(lie(&request, "a new user", &(status, body))),
            Said::Unknown => self.pending = Some(Pending::new(self.state, after, false)),
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Makes one of the administrative changes.
    fn change_something(&mut self, worker: &mut Worker) -> Outcome<()> {
        let state = self.state;
        match worker.random.below(13) {
            0..=2 => self.enable(worker, !state.enabled),
            3..=5 if state.enabled => {
                let after = State { password: state.password + 1, ..state };
                let body = json!({"password": password(&self.name, after.password)});
                self.change(worker, &worker.admin("PUT", &self.path("/password")).json(&body), after, true)
            }
            6..=8 if worker.role.is_certain() => {
                let after = State { has_role: !state.has_role, ..state };
                let roles = if after.has_role { json!(["member", worker.role.name]) } else { json!(["member"]) };
                self.change(
                    worker,
                    &worker.admin("PUT", &self.path("/roles")).json(&json!({"roles": roles})),
                    after,
                    false,
                )
            }
            9..=10 => self.change(worker, &worker.admin("DELETE", &self.path("/sessions")), state, true),
            11..=12 => {
                let after = State { exists: false, ..state };
                self.change(worker, &worker.admin("DELETE", &self.path("")), after, true)
            }
            _ => Ok(()),
        }
    }

    fn enable(&mut self, worker: &mut Worker, enabled: bool) -> Outcome<()> {
        let request = worker.admin("PATCH", &self.path("")).json(&json!({"disabled": !enabled}));
        self.change(worker, &request, State { enabled, ..self.state }, !enabled)
    }

    /// Makes a change, which the model allows.
    fn change(&mut self, worker: &mut Worker, request: &Request, after: State, ends: bool) -> Outcome<()> {
        match worker.ask(request)? {
            Said::Done(_) => self.becomes(worker, after, ends),
            Said::Refused(status, body) => return Err(lie(request, &format!("{after:?}"), &(status, body))),
            Said::Unknown => self.pending = Some(Pending::new(self.state, after, ends)),
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Updates the model.
    fn becomes(&mut self, worker: &mut Worker, state: State, ends_sessions: bool) {
        self.state = state;
        if ends_sessions {
            for session in self.sessions.drain(..) {
                worker.bury(session.ended(worker));
            }
        }
        if !self.state.exists && !self.id.is_empty() {
            worker.bury(Ended::user(worker, &self.path(""), self.login(self.state.password)));
            for key in &self.keys {
                worker.bury(key.ended(worker, self));
            }
            *self = Self::new(worker);
        }
    }

    /// Returns the path of the account for the administrator, or one below it.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/admin/users/{}{rest}", self.id)
    }

    /// Observes what came of a change without an answer. All of it must have happened, or nothing.
    fn settle(&mut self, worker: &mut Worker, pending: Pending) -> Outcome<()> {
        let Some((request, found)) = self.read(worker)? else { return Ok(()) };
        let fits = |state: State| match &found {
            Some(user) => state.exists && fits(state, &worker.role, user),
            None => !state.exists,
        };
        let Pending { before, after, ends_sessions, .. } = pending;
        let mut is_done = match (fits(before), fits(after)) {
            (false, false) => return Err(lie(&request, &format!("{before:?} or {after:?}"), &found)),
            (true, true) => None,
            (_, is_done) => Some(is_done),
        };
        if is_done.is_none() && before.password != after.password {
            is_done = self.has_password(worker, after.password)?;
            if is_done.is_none() {
                return Ok(());
            }
        }
        if let Some(user) = &found {
            self.id = text(user, "id").ok_or_else(|| lie(&request, "an id", user))?;
        }
        // Sessions whose own state is in doubt tell nothing.
        self.sessions.retain(|session| !session.in_doubt);
        let tokens: Vec<_> = self.sessions.iter().map(|session| session.refresh.clone()).collect();
        for token in tokens {
            let expected = is_done.map(|is_done| !(is_done && ends_sessions));
            match worker.is_active(None, &token, expected)? {
                Some(active) => is_done = is_done.or(Some(!active)),
                None => return Ok(()),
            }
        }
        self.pending = None;
        // Without a session to observe, the end of all sessions makes no difference.
        if is_done.unwrap_or(false) {
            self.becomes(worker, after, ends_sessions);
        }
        Ok(())
    }

    /// Reads the account as the administrator. `None`: there was no answer. `Some((_, None))`: there is no such account.
    fn read(&self, worker: &mut Worker) -> Outcome<Option<(Request, Option<Value>)>> {
        let path = match &*self.id {
            "" => format!("/admin/users?q={}", self.name),
            _ => self.path(""),
        };
        let request = worker.admin("GET", &path);
        let user = match worker.ask(&request)? {
            Said::Done(body) => match body["items"].as_array() {
                Some(items) => items.iter().find(|user| user["username"] == *self.name).cloned(),
                None => Some(body),
            },
            Said::Refused(404, _) => None,
            Said::Refused(status, body) => return Err(lie(&request, "the user, or 404", &(status, body))),
            Said::Unknown | Said::Unsent => return Ok(None),
        };
        Ok(Some((request, user)))
    }

    /// Returns whether the account has this password, by a login. `None`: there was no answer.
    fn has_password(&self, worker: &mut Worker, number: u32) -> Outcome<Option<bool>> {
        Ok(match worker.ask(&self.login(number))? {
            Said::Done(_) => Some(true),
            Said::Refused(..) => Some(false),
            Said::Unknown | Said::Unsent => None,
        })
    }

    fn login(&self, number: u32) -> Request {
        let password = password(&self.name, number);
        let form = [("grant_type", "password"), ("username", &self.name), ("password", &password)];
        Request::new("POST", "/token").form(&form)
    }

    /// Logs in, with the right or the previous password.
    fn log_in(&mut self, worker: &mut Worker, replica: Option<usize>) -> Outcome<()> {
        let number = self.state.password;
        let is_right = number == 0 || worker.random.below(4) > 0;
        if is_right && self.state.enabled && self.sessions.len() >= MOST_SESSIONS {
            return Ok(());
        }
        let request = self.login(if is_right { number } else { number - 1 });
        let succeeds = is_right && self.state.enabled;
        match worker.ask_of(replica, &request)? {
            Said::Done(body) if succeeds && self.may_have_scope(&worker.role, &body["scope"]) => {
                self.sessions.push(Session::of(&body).ok_or_else(|| lie(&request, "tokens", &body))?);
            }
            Said::Refused(400, body) if !succeeds && body["error"] == "invalid_grant" => {}
            Said::Done(body) => return Err(lie(&request, &format!("success: {succeeds}"), &body)),
            Said::Refused(status, body) => return Err(lie(&request, &format!("success: {succeeds}"), &(status, body))),
            Said::Unknown | Said::Unsent => {}
        }
        Ok(())
    }

    /// Reads the account as the administrator, and compares it with the model.
    fn look(&self, worker: &mut Worker, replica: Option<usize>) -> Outcome<()> {
        let request = worker.admin("GET", &self.path(""));
        match worker.ask_of(replica, &request)? {
            Said::Done(body) if fits(self.state, &worker.role, &body) => Ok(()),
            Said::Done(body) => Err(lie(&request, &format!("{:?}", self.state), &body)),
            Said::Refused(status, body) => Err(lie(&request, &format!("{:?}", self.state), &(status, body))),
            Said::Unknown | Said::Unsent => Ok(()),
        }
    }

    /// Returns whether a token of the account may have this scope.
    pub(crate) fn may_have_scope(&self, role: &Role, scope: &Value) -> bool {
        let Some(scope) = scope.as_str() else { return false };
        role.may_give(self.state.has_role, scope.split(' '))
    }

    /// Checks the account on each server, after the last fault.
    pub(crate) fn finish(&mut self, worker: &mut Worker) -> Outcome<()> {
        while let Some(pending) = self.pending {
            thread::sleep(pending.due.saturating_duration_since(Instant::now()));
            self.settle(worker, pending)?;
        }
        if !self.state.exists {
            return Ok(());
        }
        let mut sessions = std::mem::take(&mut self.sessions);
        for replica in 0..worker.cluster.replicas.len() {
            self.look(worker, Some(replica))?;
            self.log_in(worker, Some(replica))?;
            for key in &self.keys {
                key.probe(worker, self, Some(replica))?;
            }
            for session in &mut sessions {
                session.refresh(worker, self, Some(replica))?;
                session.probe(worker, self, Some(replica))?;
            }
        }
        Ok(())
    }
}

/// Returns whether an answer shows an account in this state.
fn fits(state: State, role: &Role, user: &Value) -> bool {
    let strings =
        |name: &str| user[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let has_role = strings("roles").contains(&&*role.name);
    user["disabled"] != state.enabled
        && has_role == state.has_role
        && role.may_give(has_role, strings("scopes").into_iter())
}

fn password(name: &str, number: u32) -> String {
    format!("secret-of-{name}-number-{number}")
}
