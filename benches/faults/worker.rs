//! A thread of the load, with accounts, a role and clients of its own.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Outcome,
    account::Account,
    cluster::{Cluster, WATCHER},
    counts::Counts,
    ended::{AllEnded, Ended},
    http::{Connection, Reply, Request},
    random::Random,
    registration::Registration,
    role::Role,
};

const ACCOUNTS: usize = 3;
/// One request in so many is cut off by its sender.
const CUT: usize = 400;
/// A request can race another, also on a single server.
const CONNECTIONS: usize = 2;
/// The pause after an attempt at a server or database that is down, of which there would be thousands otherwise.
const PAUSE: Duration = Duration::from_millis(20);
/// How the error of a lie begins.
pub(crate) const LIE: &str = "A LIE";
/// How often a request is repeated at the end, when all servers run.
const TRIES: u32 = 50;

pub(crate) struct Worker {
    pub(crate) random: Random,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) number: u64,
    /// The role that its accounts get.
    pub(crate) role: Role,
    pub(crate) ended: AllEnded,
    /// To each server in turn.
    connections: Vec<Connection>,
    accounts: Vec<Account>,
    registrations: Vec<Registration>,
    counts: Counts,
    names: u32,
    /// After the last fault: every request must be answered.
    is_calm: bool,
}

/// What a request came to.
pub(crate) enum Said {
    /// A success.
    Done(Value),
    /// A refusal.
    Refused(u16, Value),
    /// It may have been carried out or not.
    Unknown,
    /// It was not carried out.
    Unsent,
}

impl Worker {
    pub(crate) fn new(number: u64, seed: u64, cluster: Arc<Cluster>) -> Self {
        let addresses = cluster.replicas.iter().map(|replica| replica.address);
        let connections = addresses.cycle().take(CONNECTIONS).map(Connection::new).collect();
        let mut worker = Self {
            random: Random::new(seed, number),
            cluster,
            number,
            role: Role::new(number),
            ended: AllEnded::default(),
            connections,
            accounts: Vec::new(),
            registrations: Vec::new(),
            counts: Counts::default(),
            names: 0,
            is_calm: false,
        };
        worker.accounts = (0..ACCOUNTS).map(|_| Account::new(&mut worker)).collect();
        worker.registrations = vec![Registration::new(&mut worker)];
        worker
    }

    /// Returns a name that was not used before.
    pub(crate) fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}-{}-{}", self.number, self.names)
    }

    /// Runs random steps until then, or until a worker finds a lie.
    pub(crate) fn run(mut self, end: Instant) -> Outcome<Self> {
        while Instant::now() < end && !self.cluster.has_lied.load(Ordering::Relaxed) {
            if let Err(lie) = self.step() {
                self.cluster.has_lied.store(true, Ordering::Relaxed);
                return Err(lie);
            }
        }
        Ok(self)
    }

    fn step(&mut self) -> Outcome<()> {
        match self.random.below(100) {
            0 => self.with_role(Role::step)?,
            1..=7 => {
                let mut one = self.registrations.remove(0);
                one.step(self)?;
                self.registrations.push(one);
            }
            _ => {
                let which = self.random.below(self.accounts.len());
                let mut account = self.accounts.swap_remove(which);
                account.step(self)?;
                self.accounts.push(account);
            }
        }
        Ok(())
    }

    fn with_role(&mut self, step: impl FnOnce(&mut Role, &mut Self) -> Outcome<()>) -> Outcome<()> {
        let mut role = std::mem::replace(&mut self.role, Role::new(self.number));
        let done = step(&mut role, self);
        self.role = role;
        done
    }

    /// Checks everything on each server, after the last fault. Returns the counts of the load, and those of the checks.
    pub(crate) fn finish(mut self) -> Outcome<[Counts; 2]> {
        self.is_calm = true;
        let load = std::mem::take(&mut self.counts);
        self.with_role(Role::finish)?;
        for mut one in std::mem::take(&mut self.registrations) {
            one.finish(&mut self)?;
        }
        for mut account in std::mem::take(&mut self.accounts) {
            account.finish(&mut self)?;
        }
        let all = self.ended.take();
        // All servers have synced by now: the accounts above waited for what was in doubt.
        let lag = self.cluster.lag();
        thread::sleep(lag.saturating_sub(all.last().map_or(lag, |last| last.since.elapsed())));
        for replica in 0..self.cluster.replicas.len() {
            all.iter().try_for_each(|ended| ended.check(&mut self, replica))?;
        }
        Ok([load, self.counts])
    }

    /// Sends a request to a random server.
    pub(crate) fn ask(&mut self, request: &Request) -> Outcome<Said> {
        let replica = self.random.below(self.connections.len());
        let cut = !self.is_calm && self.random.one_in(CUT);
        self.ask_at(replica, request, cut)
    }

    /// Sends a request to this server, or to a random one. After the last fault, it is repeated until it is answered.
    pub(crate) fn ask_of(&mut self, replica: Option<usize>, request: &Request) -> Outcome<Said> {
        let Some(replica) = replica else { return self.ask(request) };
        for _ in 0..TRIES {
            match self.ask_at(replica, request, false)? {
                Said::Unknown | Said::Unsent if self.is_calm => thread::sleep(Duration::from_millis(100)),
                said => return Ok(said),
            }
        }
        Err(format!("server {replica} does not recover: {request}").into())
    }

    /// Sends a request twice at the same time: to two servers, or to one on two connections.
    pub(crate) fn ask_twice(&mut self, request: &Request) -> Outcome<[Said; 2]> {
        let (first, second) = if self.random.one_in(2) { (0, 1) } else { (1, 0) };
        let sent = [first, second].map(|which| (which, self.connections[which].send(request)));
        let [a, b] = sent.map(|(which, sent)| match sent {
            Ok(stream) => self.connections[which].receive(stream),
            Err(reply) => reply,
        });
        Ok([self.judge(request, a)?, self.judge(request, b)?])
    }

    fn ask_at(&mut self, replica: usize, request: &Request, cut: bool) -> Outcome<Said> {
        let reply = self.connections[replica].call(request, cut);
        self.judge(request, reply)
    }

    /// Counts the result of a request, and says what it means.
    fn judge(&mut self, request: &Request, reply: Reply) -> Outcome<Said> {
        Ok(match reply {
            Reply::Answer(200..=399, body) => {
                self.counts.done += 1;
                Said::Done(body)
            }
            Reply::Answer(502..=504, _) => {
                self.counts.unavailable += 1;
                thread::sleep(PAUSE);
                Said::Unknown
            }
            Reply::Answer(status @ (429 | 500..), body) => return Err(lie(request, "never", &(status, body))),
            Reply::Answer(status, body) => {
                self.counts.refused += 1;
                Said::Refused(status, body)
            }
            Reply::Lost => {
                self.counts.lost += 1;
                Said::Unknown
            }
            Reply::Unsent => {
                self.counts.unsent += 1;
                thread::sleep(PAUSE);
                Said::Unsent
            }
        })
    }

    /// Asks a server, or a random one, whether a token is active, and compares the answer with what is expected. `None`: there was
    /// no answer.
    pub(crate) fn is_active(
        &mut self,
        replica: Option<usize>,
        token: &str,
        expected: Option<bool>,
    ) -> Outcome<Option<bool>> {
        let request = self.introspection(token);
        match self.ask_of(replica, &request)? {
            Said::Done(body) => match body["active"].as_bool() {
                Some(active) if expected.is_none_or(|expected| expected == active) => Ok(Some(active)),
                _ => Err(lie(&request, &format!("active: {expected:?}"), &body)),
            },
            Said::Refused(status, body) => Err(lie(&request, "an answer", &(status, body))),
            Said::Unknown | Said::Unsent => Ok(None),
        }
    }

    /// Returns whether a server that was asked at `asked` may not know yet what happened at `since`.
    pub(crate) fn may_be_stale(&self, since: Instant, asked: Instant) -> bool {
        let lag = self.cluster.lag();
        asked < since + lag || !self.cluster.environment.is_calm_since(asked.checked_sub(lag).unwrap_or(asked))
    }

    /// Remembers what has ended.
    pub(crate) fn bury(&mut self, ended: Ended) {
        self.ended.add(ended);
    }

    /// Returns the request that introspects a token.
    pub(crate) fn introspection(&self, token: &str) -> Request {
        Request::new("POST", "/introspect").basic(WATCHER, &self.cluster.watcher).form(&[("token", token)])
    }

    /// Returns a request of the administrator.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).bearer(&self.cluster.admin)
    }
}

/// Returns the error for an answer that the model does not allow.
pub(crate) fn lie(
    request: &Request,
    expected: &str,
    got: &impl fmt::Debug,
) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{LIE}\nrequest:  {request}\nexpected: {expected}\nanswer:   {got:?}").into()
}
