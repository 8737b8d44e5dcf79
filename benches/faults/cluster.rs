//! The servers and their database, and what can happen to them.

use std::{
    fs,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Outcome,
    arguments::Engine,
    environment::{Environment, PASSWORD, tail},
    forwarder::Forwarder,
    http::{Connection, Reply, Request},
    postgres::Postgres,
    replica::Replica,
};

/// The client that introspects tokens.
pub(crate) const WATCHER: &str = "watcher";
/// How long most faults wait for the end of the one before.
const BREATH: Duration = Duration::from_secs(5);
/// The longest time until everything works again after the last fault.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long another server may accept an access token that was revoked. It polls every 200 ms; the rest is for a busy machine.
const LAG: Duration = Duration::from_secs(5);

pub(crate) struct Cluster {
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) forwarder: Option<Forwarder>,
    pub(crate) environment: Arc<Environment>,
    /// The access token of the administrator.
    pub(crate) admin: String,
    /// The secret of the client [`WATCHER`].
    pub(crate) watcher: String,
    /// A lie was found: the load can stop.
    pub(crate) has_lied: AtomicBool,
}

impl Cluster {
    /// Starts two servers on Postgres, or one on SQLite, and creates what all workers use.
    pub(crate) fn start(engine: Engine) -> Outcome<Self> {
        let mut environment = Environment::create()?;
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Postgres::create(environment.path(), &[])?),
            Engine::Forgetful => {
                Some(Postgres::create(environment.path(), &["synchronous_commit=off", "wal_writer_delay=10s"])?)
            }
        };
        let forwarder = postgres.as_ref().map(|postgres| Forwarder::start(postgres.address)).transpose()?;
        environment.postgres = forwarder.as_ref().map(|forwarder| forwarder.address);
        if postgres.is_some() {
            // It listens, and may not be ready yet.
            environment.calm_down();
        }
        let environment = Arc::new(environment);
        let mut replicas = Vec::new();
        for number in 0..if postgres.is_some() { 2 } else { 1 } {
            replicas.push(Arc::new(Replica::new(number, Arc::clone(&environment))?));
        }
        replicas.iter().for_each(Replica::supervise);
        let (admin, watcher) = (String::new(), String::new());
        let mut cluster =
            Self { replicas, postgres, forwarder, environment, admin, watcher, has_lied: AtomicBool::new(false) };
        cluster.wait_until_ready()?;
        cluster.set_up()?;
        Ok(cluster)
    }

    fn set_up(&mut self) -> Outcome<()> {
        let login = [("grant_type", "password"), ("username", "admin"), ("password", PASSWORD)];
        let answer = self.ask(&Request::new("POST", "/token").form(&login))?;
        answer["access_token"].as_str().ok_or("no access token")?.clone_into(&mut self.admin);
        let client = json!({"client_id": WATCHER, "name": "Watcher", "type": "confidential", "scopes": ["tokens:introspect"],
            "grant_types": ["client_credentials"]});
        let answer = self.ask(&Request::new("POST", "/admin/clients").bearer(&self.admin).json(&client))?;
        answer["client_secret"].as_str().ok_or("no client secret")?.clone_into(&mut self.watcher);
        Ok(())
    }

    fn ask(&self, request: &Request) -> Outcome<serde_json::Value> {
        match Connection::new(self.replicas[0].address).call(request, false) {
            Reply::Answer(200..=299, body) => Ok(body),
            Reply::Answer(status, body) => Err(format!("{request}: {status} {body}").into()),
            Reply::Lost | Reply::Unsent => Err(format!("{request}: no answer").into()),
        }
    }

    /// Waits until all servers answer.
    pub(crate) fn wait_until_ready(&self) -> Outcome<()> {
        let began = Instant::now();
        for replica in &self.replicas {
            if !replica.becomes_ready(began + RECOVERY) {
                let log = tail(&replica.log(0));
                return Err(format!("server {} does not recover; its log ends with:\n{log}", replica.number).into());
            }
        }
        Ok(())
    }

    /// Waits until all servers answer, for some seconds at most.
    pub(crate) fn catch_breath(&self) {
        let end = Instant::now() + BREATH;
        for replica in &self.replicas {
            replica.becomes_ready(end);
        }
    }

    /// Returns the longest time from SIGTERM to the end of a server.
    pub(crate) fn slowest_end(&self) -> Duration {
        self.replicas.iter().map(|replica| replica.slowest_end()).max().unwrap_or_default()
    }

    /// Returns a problem of a server that no answer shows: it ended by itself, or panicked.
    pub(crate) fn problem(&self) -> Option<String> {
        self.replicas.iter().find_map(|replica| replica.problem())
    }

    /// Returns how long a server may accept an access token after its revocation. One server knows its own revocations.
    pub(crate) fn lag(&self) -> Duration {
        if self.replicas.len() > 1 { LAG } else { Duration::ZERO }
    }

    /// Checks that the audit log is as it was written.
    pub(crate) fn verify_audit_log(&self) -> Outcome<()> {
        let log = self.environment.path().join("verify.log");
        if self.environment.command(&log)?.args(["audit", "verify"]).status()?.success() {
            return Ok(());
        }
        let log = fs::read_to_string(log)?;
        Err(format!("the audit log is not intact: {}", tail(&log)).into())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.replicas.iter().for_each(|replica| replica.end());
    }
}
