//! The servers and their database, and what can happen to them.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    Outcome,
    arguments::Engine,
    forwarder::Forwarder,
    http::{Connection, Reply, Request},
    postgres::Postgres,
    process::Process,
};

const PASSWORD: &str = "correct-horse-battery";
/// The client that introspects tokens.
pub(crate) const WATCHER: &str = "watcher";
/// The longest time from SIGTERM to the end of a server: its grace period, and what a slow machine adds.
const GRACE: Duration = Duration::from_secs(20);
/// How long most faults wait for the end of the one before.
const BREATH: Duration = Duration::from_secs(5);
/// The longest time until everything works again after the last fault.
const RECOVERY: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) forwarder: Option<Forwarder>,
    /// The access token of the administrator.
    pub(crate) admin: String,
    /// The secret of the client [`WATCHER`].
    pub(crate) watcher: String,
    trouble: Mutex<Trouble>,
    settings: Arc<Settings>,
}

/// Faults of the database.
struct Trouble {
    lasts: bool,
    /// The end of the last one.
    ended: Instant,
}

struct Settings {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Settings {
    /// Returns a command with the settings, and without the caller's environment.
    fn command(&self, log: &str) -> io::Result<Command> {
        let log = fs::File::options().create(true).append(true).open(self.path().join(log))?;
        let binary = std::env::var_os("GRANTD").unwrap_or_else(|| env!("CARGO_BIN_EXE_grantd").into());
        let mut command = Command::new(binary);
        command.env_clear().envs(self.variables.clone()).current_dir(self.path());
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Cluster {
    /// Starts two servers on Postgres, or one on SQLite, and creates what all workers use.
    pub(crate) fn start(engine: Engine) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("grantd-faults-").tempdir()?;
        open_to_all(directory.path())?;
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Postgres::create(directory.path(), &[])?),
            Engine::Forgetful => {
                Some(Postgres::create(directory.path(), &["synchronous_commit=off", "wal_writer_delay=10s"])?)
            }
        };
        let forwarder = postgres.as_ref().map(|postgres| Forwarder::start(postgres.address)).transpose()?;
        let url = match &forwarder {
            Some(forwarder) => format!("postgres://postgres@{}/postgres?sslmode=disable", forwarder.address),
            None => format!("sqlite://{}", directory.path().join("grantd.db").display()),
        };
        let settings = Arc::new(Settings { variables: variables(url), directory });
        let mut replicas = Vec::new();
        for number in 0..if postgres.is_some() { 2 } else { 1 } {
            replicas.push(Arc::new(Replica::new(number)?));
        }
        for replica in &replicas {
            Arc::clone(replica).supervise(Arc::clone(&settings));
        }
        let trouble = Mutex::new(Trouble { lasts: false, ended: Instant::now() });
        let (admin, watcher) = (String::new(), String::new());
        let mut cluster = Self { replicas, postgres, forwarder, admin, watcher, trouble, settings };
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

    /// Waits until all servers answer, and reports what their supervisors noticed.
    pub(crate) fn wait_until_ready(&self) -> Outcome<()> {
        let began = Instant::now();
        for replica in &self.replicas {
            let mut connection = Connection::new(replica.address);
            while !matches!(connection.call(&Request::new("GET", "/readyz"), false), Reply::Answer(200, _)) {
                if began.elapsed() > RECOVERY {
                    return Err(format!(
                        "server {} does not recover; its log ends with:\n{}",
                        replica.number,
                        self.log()
                    )
                    .into());
                }
                thread::sleep(Duration::from_millis(20));
            }
            if let Some(problem) = &lock(&replica.state).problem {
                return Err(problem.clone().into());
            }
        }
        Ok(())
    }

    /// Waits until all servers answer, for some seconds at most.
    pub(crate) fn catch_breath(&self) {
        let began = Instant::now();
        for replica in &self.replicas {
            let mut connection = Connection::new(replica.address);
            while began.elapsed() < BREATH
                && !matches!(connection.call(&Request::new("GET", "/readyz"), false), Reply::Answer(200, _))
            {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Returns the longest time from SIGTERM to the end of a server.
    pub(crate) fn slowest_end(&self) -> Duration {
        self.replicas.iter().map(|replica| lock(&replica.state).slowest_end).max().unwrap_or_default()
    }

    /// Notes that the database is in trouble until [`Cluster::calm_down`].
    pub(crate) fn disturb(&self) {
        lock(&self.trouble).lasts = true;
    }

    pub(crate) fn calm_down(&self) {
        *lock(&self.trouble) = Trouble { lasts: false, ended: Instant::now() };
    }

    /// Returns whether the database had no trouble since then.
    pub(crate) fn is_calm_since(&self, time: Instant) -> bool {
        let trouble = lock(&self.trouble);
        !trouble.lasts && trouble.ended < time
    }

    /// Checks that the audit log is as it was written.
    pub(crate) fn verify_audit_log(&self) -> Outcome<()> {
        let verified = self.settings.command("verify.log")?.args(["audit", "verify"]).status()?;
        if verified.success() {
            return Ok(());
        }
        Err(format!("the audit log is not intact: {}", tail(&self.settings.path().join("verify.log"))).into())
    }

    /// Returns the end of the servers' log.
    pub(crate) fn log(&self) -> String {
        tail(&self.settings.path().join("grantd.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for replica in &self.replicas {
            replica.over.store(true, Ordering::Relaxed);
            lock(&replica.state).process = None;
        }
    }
}

/// A server, which is started again whenever it has ended.
pub(crate) struct Replica {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    state: Mutex<State>,
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    /// When SIGTERM was sent.
    asked_to_end: Option<Instant>,
    /// The longest time from SIGTERM to the end.
    slowest_end: Duration,
    problem: Option<String>,
}

impl Replica {
    fn new(number: usize) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, free_port()?).into();
        Ok(Self { number, address, state: Mutex::default(), over: false.into() })
    }

    /// Sends a signal, if the server runs.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut state = lock(&self.state);
        if let Some(process) = &state.process
            && process.signal(signal).is_ok()
            && signal == Signal::TERM
        {
            state.asked_to_end.get_or_insert_with(Instant::now);
        }
    }

    fn supervise(self: Arc<Self>, settings: Arc<Settings>) {
        thread::spawn(move || {
            while !self.over.load(Ordering::Relaxed) {
                let pause = match self.look(&settings) {
                    Ok(pause) => pause,
                    Err(error) => {
                        lock(&self.state).problem = Some(error.to_string());
                        Duration::from_secs(1)
                    }
                };
                thread::sleep(pause);
            }
        });
    }

    /// Starts the server if it does not run. Returns the time until the next look.
    fn look(&self, settings: &Settings) -> Outcome<Duration> {
        let mut state = lock(&self.state);
        let Some(process) = &mut state.process else {
            // Under the lock of the check: a server that was started after `over` would stay behind.
            if !self.over.load(Ordering::Relaxed) {
                let address = self.address.to_string();
                let mut command = settings.command("grantd.log")?;
                state.process = Some(Process::start(command.env("GRANTD_LISTEN", address), "KILL")?);
            }
            return Ok(Duration::from_millis(10));
        };
        let ended = process.ended()?;
        let asked = state.asked_to_end.map(|asked| asked.elapsed());
        if let Some(status) = ended {
            let (number, code) = (self.number, status.code());
            // 1: requests were cut off, or the database was away at the start.
            if state.asked_to_end.take().is_some() && !matches!(code, Some(0 | 1) | None) {
                state.problem = Some(format!("server {number} ended with {status} after SIGTERM"));
            }
            state.slowest_end = state.slowest_end.max(asked.unwrap_or_default());
            state.process = None;
            // As a service manager does.
            return Ok(Duration::from_millis(100));
        }
        if asked.is_some_and(|asked| asked > GRACE) {
            return Err(format!("server {} did not end within {} s after SIGTERM", self.number, GRACE.as_secs()).into());
        }
        Ok(Duration::from_millis(10))
    }
}

/// Settings with cheap hashes and without limits of failed logins and requests, which would refuse what the model expects.
fn variables(url: String) -> Vec<(&'static str, String)> {
    let own = [
        // 32 bytes in base64url, for databases that are deleted at the end.
        ("GRANTD_MASTER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"),
        // Not the address, so that both servers issue tokens for each other.
        ("GRANTD_ISSUER", "http://grantd.test"),
        ("GRANTD_ADMIN_PASSWORD", PASSWORD),
        ("GRANTD_HASH_MEMORY", "8KiB"),
        ("GRANTD_HASH_ITERATIONS", "1"),
        ("GRANTD_HASH_THREADS", "1"),
        ("GRANTD_LOGIN_FAILURES", "off"),
        ("GRANTD_NETWORK_FAILURES", "off"),
        ("GRANTD_RATE_LIMIT", "off"),
        ("GRANTD_ACCESS_TOKEN_TTL", "1h"),
        // A retry after a lost answer is never reuse.
        ("GRANTD_REFRESH_LEEWAY", "1h"),
        ("GRANTD_PASSWORD_MIN_STRENGTH", "0"),
        ("GRANTD_LOG", "warn"),
    ];
    let own = own.into_iter().map(|(name, value)| (name, value.to_owned()));
    std::iter::once(("DATABASE_URL", url)).chain(own).collect()
}

/// Returns a port that is free at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Lets Postgres, which runs as another user, pass through the directory.
fn open_to_all(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn tail(path: &PathBuf) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().skip(text.lines().count().saturating_sub(15)).collect::<Vec<_>>().join("\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
