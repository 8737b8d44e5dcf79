//! The hash threads: a fixed number, each with memory of its own, at a lower priority than the request threads. The queue
//! is bounded, so that a flood of logins is refused (back-pressure) instead of delaying every login.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use argon2::Block;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::{sync::oneshot, time::timeout};

use super::hash::Recipe;
use crate::{config::HashConfig, error::Error, secret::Password};

/// The lowest scheduling priority of Linux, as a nice value.
const NICEST: i32 = 19;
/// A thread that is idle for this long frees its memory.
const IDLE: Duration = Duration::from_secs(30);

/// The hash threads and their queue.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Sender<Job>,
    wait: Duration,
    hashes: Arc<AtomicU64>,
}

struct Job {
    password: Password,
    salt: Vec<u8>,
    recipe: Recipe,
    /// Signals that the computation starts. Closed: the caller was dropped or timed out.
    begun: oneshot::Sender<()>,
    done: oneshot::Sender<Result<Vec<u8>, argon2::Error>>,
}

impl Pool {
    /// Starts the threads. They end when the pool is dropped.
    pub(super) fn start(config: &HashConfig) -> io::Result<Self> {
        let (queue, jobs) = bounded(config.queue);
        let hashes = Arc::new(AtomicU64::new(0));
        for _ in 0..config.threads {
            let (jobs, hashes, blocks) = (jobs.clone(), Arc::clone(&hashes), config.memory_kib as usize);
            thread::Builder::new().name("hash".to_owned()).spawn(move || work(&jobs, &hashes, blocks))?;
        }
        Ok(Self { queue, wait: config.wait, hashes })
    }

    /// Computes a hash. Fails at once if the queue is full, and later if the job waits in it for too long.
    ///
    /// Dropping the future cancels the job, unless its computation has begun.
    pub(super) async fn run(&self, password: Password, salt: Vec<u8>, recipe: Recipe) -> Result<Vec<u8>, Error> {
        let (begun, beginning) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let job = Job { password, salt, recipe, begun, done };
        // Refused at once if the queue is full: waiting here would make it unbounded.
        self.queue.try_send(job).map_err(|_| Error::HashQueueFull)?;
        // The timeout covers only the wait in the queue. A hash that has started is always awaited, since its cost is
        // spent.
        match timeout(self.wait, beginning).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Error::HashQueueFull),
        }
        match result.await {
            Ok(digest) => digest.map_err(|error| Error::Internal(format!("a password could not be hashed: {error}"))),
            Err(_) => Err(Error::Internal("a thread that hashes passwords has ended".to_owned())),
        }
    }

    pub(super) fn hashes_run(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

fn work(jobs: &Receiver<Job>, hashes: &AtomicU64, blocks: usize) {
    // A flood of logins must not slow down other routes. If the system refuses the priority, hashing still works.
    if let Err(error) = rustix::process::setpriority_process(None, NICEST) {
        tracing::debug!(%error, "the threads that hash keep their priority");
    }
    // Allocated for the first login and freed when idle, so that an idle server needs little memory.
    let mut memory = Vec::new();
    loop {
        let job = match jobs.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory = Vec::new();
                match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        // Skips the jobs of dropped callers: under load, the threads would otherwise compute hashes that are not used.
        if job.begun.send(()).is_ok() {
            hashes.fetch_add(1, Ordering::Relaxed);
            let needed = job.recipe.blocks().max(blocks);
            if memory.len() != needed {
                // A hash from before the setting was lowered needs more memory. The next job returns to the configured
                // size.
                memory = Vec::new();
                // If the allocation fails, so does the computation, with an error instead of an abort.
                if memory.try_reserve_exact(needed).is_ok() {
                    memory.resize(needed, Block::default());
                }
            }
            // An error means that the caller was dropped during the computation.
            let _ = job.done.send(job.recipe.compute(job.password.as_bytes(), &job.salt, &mut memory));
        }
    }
}
