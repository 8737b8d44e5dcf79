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

use crate::{Outcome, cluster::Cluster, random::Random};

/// Causes faults until it is stopped.
pub(crate) struct Chaos {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Faults>>,
}

/// The faults so far.
#[derive(Default)]
pub(crate) struct Faults {
    killed: u32,
    terminated: u32,
    database_stopped: u32,
    connections_cut: u32,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, terminated, database_stopped, connections_cut } = self;
        write!(f, "servers killed {killed} and terminated {terminated} times, ")?;
        write!(f, "database stopped {database_stopped} times, its connections cut {connections_cut} times")
    }
}

impl Chaos {
    pub(crate) fn start(cluster: Arc<Cluster>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut random, mut faults) = (Random::new(seed, u64::MAX), Faults::default());
            while !stopped.load(Ordering::Relaxed) {
                // A slow machine would otherwise have no time for load between the faults. Some come while servers start.
                if !random.one_in(4) {
                    cluster.catch_breath();
                }
                pause(&mut random, 200, 1800);
                faults.cause_one(&cluster, &mut random)?;
            }
            Ok(faults)
        });
        Self { stop, thread }
    }

    /// Causes no more faults. The database runs.
    pub(crate) fn stop(self) -> Outcome<Faults> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the faults panicked")?
    }
}

impl Faults {
    fn cause_one(&mut self, cluster: &Cluster, random: &mut Random) -> Outcome<()> {
        let replica = &cluster.replicas[random.below(cluster.replicas.len())];
        match (random.below(10), &cluster.postgres, &cluster.forwarder) {
            (0..=1, Some(postgres), _) => {
                cluster.environment.disturb();
                postgres.stop()?;
                pause(random, 0, 1000);
                postgres.start()?;
                cluster.environment.calm_down();
                self.database_stopped += 1;
            }
            (2..=3, _, Some(forwarder)) => {
                cluster.environment.disturb();
                forwarder.cut();
                cluster.environment.calm_down();
                self.connections_cut += 1;
            }
            (4..=6, ..) => {
                self.terminated += u32::from(replica.signal(Signal::TERM));
            }
            _ => {
                self.killed += u32::from(replica.signal(Signal::KILL));
            }
        }
        Ok(())
    }
}

/// Waits for a random number of milliseconds.
fn pause(random: &mut Random, least: usize, more: usize) {
    let time = least + random.below(more);
    thread::sleep(Duration::from_millis(time.try_into().unwrap_or(0)));
}
