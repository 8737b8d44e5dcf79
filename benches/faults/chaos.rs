//! The faults, at random times.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::Signal;

use crate::{Outcome, arguments::Engine, cluster::Cluster, random::Random};

/// Each kind of fault must happen at least once in so many seconds of load, on average.
const SELDOM: u64 = 20;

/// Causes faults until it is stopped.
pub(crate) struct Chaos {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Faults>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Terminate,
    StopDatabase,
    CutConnections,
}

impl Fault {
    /// Returns the faults of an engine.
    fn of(engine: Engine) -> &'static [Self] {
        match engine {
            Engine::Sqlite => &[Self::Kill, Self::Terminate],
            Engine::Postgres => &[Self::Kill, Self::Terminate, Self::StopDatabase, Self::CutConnections],
            // What such a database does not survive.
            Engine::Forgetful => &[Self::StopDatabase],
        }
    }

    /// Causes the fault. Returns false if the server that it is for does not run at the moment.
    fn cause(self, cluster: &Cluster, random: &mut Random) -> Outcome<bool> {
        let replica = &cluster.replicas[random.below(cluster.replicas.len())];
        match (self, &cluster.postgres, &cluster.forwarder) {
            (Self::Kill, ..) => return Ok(replica.signal(Signal::KILL)),
            (Self::Terminate, ..) => return Ok(replica.signal(Signal::TERM)),
            (Self::StopDatabase, Some(postgres), _) => {
                cluster.environment.disturb();
                postgres.stop()?;
                pause(random, 0, 1000);
                postgres.start()?;
                cluster.environment.calm_down();
            }
            (Self::CutConnections, _, Some(forwarder)) => {
                cluster.environment.disturb();
                forwarder.cut();
                cluster.environment.calm_down();
            }
            (Self::StopDatabase | Self::CutConnections, ..) => return Ok(false),
        }
        Ok(true)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "servers killed",
            Self::Terminate => "servers terminated",
            Self::StopDatabase => "database stopped",
            Self::CutConnections => "connections of the database cut",
        })
    }
}

/// The number of faults so far, by kind.
pub(crate) struct Faults(Vec<(Fault, u64)>);

impl Faults {
    /// Checks that each kind happened often enough for a load of this duration.
    pub(crate) fn check(&self, seconds: u64) -> Outcome<()> {
        match self.0.iter().find(|(_, count)| *count < seconds / SELDOM) {
            Some((fault, count)) => Err(format!("too few faults in {seconds} s: {fault} {count} times").into()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(fault, count)| format!("{fault} {count} times")).collect();
        f.write_str(&counts.join(", "))
    }
}

impl Chaos {
    pub(crate) fn start(cluster: Arc<Cluster>, engine: Engine, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || cause_all(&cluster, engine, seed, &stopped));
        Self { stop, thread }
    }

    /// Causes no more faults. The database runs.
    pub(crate) fn stop(self) -> Outcome<Faults> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the faults panicked")?
    }
}

/// Causes faults, each kind once in a round.
fn cause_all(cluster: &Cluster, engine: Engine, seed: u64, stopped: &AtomicBool) -> Outcome<Faults> {
    let (kinds, mut random) = (Fault::of(engine), Random::new(seed, u64::MAX));
    let mut counts: Vec<_> = kinds.iter().map(|kind| (*kind, 0)).collect();
    let mut round = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        // A slow machine would otherwise have no time for load between the faults. Some come while servers start.
        if !random.one_in(4) {
            cluster.catch_breath();
        }
        pause(&mut random, 200, 1800);
        if round.is_empty() {
            round.extend(kinds);
        }
        let fault: Fault = round.swap_remove(random.below(round.len()));
        if fault.cause(cluster, &mut random)? {
            counts.iter_mut().filter(|(kind, _)| *kind == fault).for_each(|(_, count)| *count += 1);
        } else {
            round.push(fault);
        }
    }
    Ok(Faults(counts))
}

/// Waits for a random number of milliseconds.
fn pause(random: &mut Random, least: usize, more: usize) {
    let time = least + random.below(more);
    thread::sleep(Duration::from_millis(time.try_into().unwrap_or(0)));
}
