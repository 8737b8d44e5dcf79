//! A server, which is started again whenever it has ended, and the reasons that it may end for.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    Outcome,
    environment::{Environment, lock, tail},
    http::{Connection, Reply, Request},
    process::Process,
};

/// The longest time from SIGTERM to the end of a server: its grace period, and what a slow machine adds.
const GRACE: Duration = Duration::from_secs(20);
/// How long after a fault of the database it may still be unreachable: it recovers first.
const AFTERMATH: Duration = Duration::from_secs(10);
/// A server that listens has printed this.
const LISTENING: &str = " listening on ";
/// A server that ends while requests are under way has printed this.
const CUT_OFF: &str = "cut off: ";

pub(crate) struct Replica {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    environment: Arc<Environment>,
    state: Mutex<State>,
    over: AtomicBool,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    run: Option<Run>,
    /// The longest time from SIGTERM to the end.
    slowest_end: Duration,
    /// The first problem that its supervisor noticed.
    problem: Option<String>,
}

/// A process of the server, and the signals that it got.
struct Run {
    process: Process,
    started: Instant,
    /// Where its part of the log begins.
    log_start: usize,
    /// When SIGTERM was sent.
    asked_to_end: Option<Instant>,
    was_killed: bool,
}

impl Replica {
    pub(crate) fn new(number: usize, environment: Arc<Environment>) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, free_port()?).into();
        Ok(Self {
            number,
            address,
            environment,
            state: Mutex::default(),
            over: false.into(),
            supervisor: Mutex::default(),
        })
    }

    /// Sends a signal. Returns false if the server does not run, or got one that ends it already.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let mut state = lock(&self.state);
        // A second SIGTERM would abort the requests under way, and end the server with 1.
        let may_get = |run: &&mut Run| !run.was_killed && (signal == Signal::KILL || run.asked_to_end.is_none());
        let Some(run) = state.run.as_mut().filter(may_get) else { return false };
        if run.process.signal(signal).is_err() {
            return false;
        }
        match signal {
            Signal::KILL => run.was_killed = true,
            _ => run.asked_to_end = Some(Instant::now()),
        }
        true
    }

    /// Waits until the server answers, until then at most. Returns whether it does.
    pub(crate) fn becomes_ready(&self, end: Instant) -> bool {
        let mut connection = Connection::new(self.address);
        while !matches!(connection.call(&Request::new("GET", "/readyz"), false), Reply::Answer(200, _)) {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Returns the longest time from SIGTERM to the end.
    pub(crate) fn slowest_end(&self) -> Duration {
        lock(&self.state).slowest_end
    }

    /// Returns the first problem that the supervisor noticed, or a panic. A panic may end no more than a request, whose
    /// answer is then lost, as by a fault.
    pub(crate) fn problem(&self) -> Option<String> {
        let noticed = lock(&self.state).problem.clone();
        noticed.or_else(|| {
            let log = self.log(0);
            let panic = log.lines().skip_while(|line| !line.contains("panicked at")).take(15).collect::<Vec<_>>();
            (!panic.is_empty()).then(|| format!("server {} panicked:\n{}", self.number, panic.join("\n")))
        })
    }

    /// Starts the server, and starts it again whenever it has ended.
    pub(crate) fn supervise(self: &Arc<Self>) {
        let replica = Arc::clone(self);
        let supervisor = thread::spawn(move || {
            while !replica.over.load(Ordering::Relaxed) {
                let pause = replica.look().unwrap_or_else(|error| {
                    lock(&replica.state).problem.get_or_insert(error.to_string());
                    Duration::from_secs(1)
                });
                thread::sleep(pause);
            }
        });
        *lock(&self.supervisor) = Some(supervisor);
    }

    /// Ends the server for good.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        lock(&self.state).run = None;
        // Otherwise the directory would stay behind, which the thread has a share of.
        let supervisor = lock(&self.supervisor).take();
        let _ = supervisor.map(JoinHandle::join);
    }

    /// Starts the server if it does not run. Returns the time until the next look.
    fn look(&self) -> Outcome<Duration> {
        let mut state = lock(&self.state);
        let Some(run) = &mut state.run else {
            // Under the lock of the check: a server that was started after `over` would stay behind.
            if !self.over.load(Ordering::Relaxed) {
                state.run = Some(self.start()?);
            }
            return Ok(Duration::from_millis(10));
        };
        let status = run.process.ended()?;
        let took = run.asked_to_end.map(|asked| asked.elapsed()).unwrap_or_default();
        if status.is_none() && took > GRACE {
            return Err(format!("server {} did not end within {} s after SIGTERM", self.number, GRACE.as_secs()).into());
        }
        let (Some(status), Some(run)) = (status, state.run.take_if(|_| status.is_some())) else {
            return Ok(Duration::from_millis(10));
        };
        state.slowest_end = state.slowest_end.max(took);
        let log = self.log(run.log_start);
        if !run.may_end(status, &log, &self.environment) {
            let signals = format!("SIGTERM: {}, SIGKILL: {}", run.asked_to_end.is_some(), run.was_killed);
            return Err(format!(
                "server {} ended by itself or wrongly: {status} ({signals}); its log ends with:\n{}",
                self.number,
                tail(&log)
            )
            .into());
        }
        // As a service manager does.
        Ok(Duration::from_millis(100))
    }

    fn start(&self) -> Outcome<Run> {
        let mut command = self.environment.command(&self.log_path())?;
        let log_start = fs::read(self.log_path()).unwrap_or_default().len();
        let process = Process::start(command.env("GRANTD_LISTEN", self.address.to_string()), "KILL")?;
        Ok(Run { process, started: Instant::now(), log_start, asked_to_end: None, was_killed: false })
    }

    fn log_path(&self) -> PathBuf {
        self.environment.path().join(format!("grantd-{}.log", self.number))
    }

    /// Returns the log from this position on. Position 0 is the start of its first process.
    pub(crate) fn log(&self, start: usize) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Run {
    /// Returns whether the process may have ended like this, with this log.
    fn may_end(&self, status: ExitStatus, log: &str, environment: &Environment) -> bool {
        let was_asked = self.asked_to_end.is_some();
        let has_listened = log.contains(LISTENING);
        match (status.code(), status.signal()) {
            (None, Some(signal)) if signal == Signal::KILL.as_raw() => self.was_killed,
            // It did not catch signals yet.
            (None, Some(signal)) if signal == Signal::TERM.as_raw() => was_asked && !has_listened,
            (Some(0), _) => was_asked,
            // Only Postgres can be away for longer than a server waits for its requests.
            (Some(1), _) if has_listened => was_asked && environment.postgres.is_some() && log.contains(CUT_OFF),
            // The start needs the database.
            (Some(1), _) => !environment.is_calm_since(self.started.checked_sub(AFTERMATH).unwrap_or(self.started)),
            _ => false,
        }
    }
}

/// Returns a port that is free at the moment, below those of outgoing connections: one of them could have the port when its
/// server starts again.
pub(crate) fn free_port() -> io::Result<u16> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    const PORTS: u16 = 10_000;
    let first = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or(0);
    for _ in 0..PORTS {
        let port = 20_000 + (first + TRIED.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
