//! Durations and repetitions of the measurements.

use std::{thread, time::Duration};

use crate::Outcome;

/// The names that `--only` takes.
pub(crate) const MEASUREMENTS: [&str; 13] = [
    "start",
    "flood",
    "throttle",
    "guessing",
    "logins",
    "routes",
    "limits",
    "refreshes",
    "replicas",
    "propagation",
    "login-time",
    "users",
    "import",
];

/// The benchmark's settings.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) sqlite: bool,
    pub(crate) postgres: bool,
    /// The measurements to make; empty: all.
    pub(crate) only: Vec<String>,
    /// Hash threads, and workers, of each server: one per core.
    pub(crate) threads: usize,
    /// How often compared measurements alternate.
    pub(crate) rounds: usize,
    /// How long each turn is measured.
    pub(crate) window: Duration,
    /// How long each turn warms up before.
    pub(crate) warm_up: Duration,
    /// How long requests come at a fixed rate, per turn.
    pub(crate) steady: Duration,
    /// Starts of the server.
    pub(crate) starts: usize,
    /// Refused logins, one at a time, of each kind.
    pub(crate) logins: usize,
    /// Sessions that are ended one after the other.
    pub(crate) sessions: usize,
    /// Users that are paged through.
    pub(crate) users: usize,
}

impl Plan {
    pub(crate) fn of(args: &[String]) -> Outcome<Self> {
        let mut plan = Self {
            quick: false,
            sqlite: true,
            postgres: true,
            only: Vec::new(),
            threads: thread::available_parallelism()?.get(),
            rounds: 5,
            window: Duration::from_millis(2500),
            warm_up: Duration::from_millis(500),
            steady: Duration::from_secs(3),
            starts: 9,
            logins: 400,
            sessions: 200,
            users: 1_000_000,
        };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match arg {
                // Added by cargo.
                "--bench" => {}
                "--quick" => plan.shorten(),
                "--engine" => match args.next() {
                    Some("sqlite") => plan.postgres = false,
                    Some("postgres") => plan.sqlite = false,
                    _ => return Err("--engine: allowed is sqlite or postgres".into()),
                },
                "--only" => match args.next().map(|only| only.split(',').map(str::to_owned).collect::<Vec<_>>()) {
                    Some(only) if only.iter().all(|name| MEASUREMENTS.contains(&name.as_str())) => plan.only = only,
                    _ => {
                        return Err(
                            format!("--only: allowed are {}, separated by commas", MEASUREMENTS.join(", ")).into()
                        );
                    }
                },
                _ => return Err(format!("{arg}: known are --quick, --engine and --only").into()),
            }
        }
        Ok(plan)
    }

    /// Returns whether a measurement is to be made.
    pub(crate) fn has(&self, measurement: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == measurement)
    }

    fn shorten(&mut self) {
        self.quick = true;
        self.rounds = 2;
        self.window = Duration::from_secs(1);
        self.steady = Duration::from_secs(2);
        self.starts = 3;
        self.logins = 30;
        self.sessions = 30;
        self.users = 20_000;
    }
}
