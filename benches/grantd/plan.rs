//! Durations and repetitions of the measurements.

use std::{thread, time::Duration};

use crate::Outcome;

/// The benchmark's settings.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) sqlite: bool,
    pub(crate) postgres: bool,
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
    /// Logins, one at a time, of each kind.
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
            threads: thread::available_parallelism()?.get(),
            rounds: 5,
            window: Duration::from_millis(2500),
            warm_up: Duration::from_millis(500),
            steady: Duration::from_secs(3),
            starts: 9,
            logins: 50,
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
                _ => return Err(format!("{arg}: known are --quick and --engine (sqlite or postgres)").into()),
            }
        }
        Ok(plan)
    }

    fn shorten(&mut self) {
        self.quick = true;
        self.rounds = 2;
        self.window = Duration::from_secs(1);
        self.steady = Duration::from_secs(2);
        self.starts = 3;
        self.logins = 10;
        self.sessions = 30;
        self.users = 20_000;
    }
}
