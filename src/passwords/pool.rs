//! The hash threads: a fixed number, each with memory of its own, at a lower priority than the request threads. The queue
//! is bounded, so that a flood of logins is refused (back-pressure) instead of delaying every login.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use argon2::Block;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use opentelemetry::Context;
use opentelemetry_sdk::trace::Span;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{config::HashConfig, error::Error, metrics::Histogram, traces::Traces};

/// The lowest scheduling priority of Linux, as a nice value.
const NICEST: i32 = 19;
/// A thread that is idle for this long frees its memory.
const IDLE: Duration = Duration::from_secs(30);

/// The hash threads and their queue.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Sender<Job>,
    wait: Duration,
    counts: Arc<Counts>,
    traces: Traces,
    /// The places of strangers in the queue.
    strangers: Arc<Semaphore>,
    /// The places of [`Pool::run_large`], and the permit of the one that runs.
    large_places: Semaphore,
    large: Arc<Semaphore>,
}

/// Whose password a hash is for, and whether its computation has begun.
#[derive(Clone, Debug)]
pub struct Turn {
    is_stranger: bool,
    begun: Arc<AtomicBool>,
}

impl Turn {
    /// Returns the turn of a caller who is known: logged in, or from a network or device of the account.
    #[must_use]
    pub fn known() -> Self {
        Self { is_stranger: false, begun: Arc::default() }
    }

    /// Returns the turn of any other caller. Strangers together have half of the places in the queue.
    #[must_use]
    pub fn stranger() -> Self {
        Self { is_stranger: true, begun: Arc::default() }
    }

    /// Returns whether the computation has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}

/// What the threads count.
#[derive(Debug, Default)]
struct Counts {
    /// Hashes that have begun.
    hashes: AtomicU64,
    times: Times,
}

/// Times of the hash threads, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// From the place in the queue to the beginning of the work.
    pub(crate) waits: Histogram,
    /// Of the hashes alone.
    pub(crate) hashes: Histogram,
}

/// Work for a hash thread. It checks by itself whether its caller still waits.
type Job = Box<dyn FnOnce(&mut Memory, &Counts) + Send>;

/// The hash of a job, which may do without one.
pub(super) struct Hash<'a> {
    counts: &'a Counts,
    /// The traces, and the request that the hash is for.
    traced: Option<(Traces, Context)>,
    begun: Option<(Instant, Option<Span>)>,
}

impl<'a> Hash<'a> {
    fn of(counts: &'a Counts, traced: Option<(Traces, Context)>) -> Self {
        Self { counts, traced, begun: None }
    }

    /// Notes that the hash begins. It ends with the job.
    pub(super) fn begin(&mut self) {
        self.counts.hashes.fetch_add(1, Ordering::Relaxed);
        let span = self.traced.as_ref().and_then(|(traces, context)| traces.hash(context));
        self.begun = Some((Instant::now(), span));
    }

    fn end(self) {
        if let Some((begun, _span)) = self.begun {
            self.counts.times.hashes.observe(begun.elapsed());
        }
    }
}

/// The memory of a thread: allocated for its first hash and freed when the thread is idle, so that an idle server needs
/// little.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// Returns at least `needed` blocks of 1 KiB, or fewer if the allocation fails. Argon2 then returns an error instead of
    /// aborting the process.
    pub(super) fn blocks(&mut self, needed: usize) -> &mut [Block] {
        if self.0.len() != needed {
            // Freed before the next allocation: never two of them at a time.
            self.0 = Vec::new();
            if self.0.try_reserve_exact(needed).is_ok() {
                self.0.resize(needed, Block::default());
            }
        }
        &mut self.0
    }
}

impl Pool {
    /// Starts the threads. They end when the pool is dropped.
    pub(super) fn start(config: &HashConfig) -> io::Result<Self> {
        let (queue, jobs) = bounded(config.queue);
        let counts = Arc::<Counts>::default();
        for _ in 0..config.threads {
            let (jobs, counts) = (jobs.clone(), Arc::clone(&counts));
            thread::Builder::new().name("hash".to_owned()).spawn(move || work(&jobs, &counts))?;
        }
        let (large_places, large) = (Semaphore::new(config.queue), Arc::new(Semaphore::new(1)));
        let strangers = Arc::new(Semaphore::new((config.queue / 2).max(1)));
        let traces = Traces::default();
        Ok(Self { queue, wait: config.wait, counts, traces, strangers, large_places, large })
    }

    /// Adds a span for each hash.
    pub(super) fn with_traces(self, traces: &Traces) -> Self {
        Self { traces: traces.clone(), ..self }
    }

    /// Computes a hash on a hash thread, and counts it. Fails as [`Pool::run_counting`] does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.run_counting(turn, move |memory, hash| {
            hash.begin();
            work(memory)
        })
        .await
    }

    /// Runs work that counts its hashes on a hash thread. Fails at once if the queue is full, and later if the work waits in
    /// it for too long.
    ///
    /// Dropping the future cancels the work, unless it has begun.
    pub(super) async fn run_counting<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&mut Memory, &mut Hash<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.run_at(Instant::now(), self.place(turn)?, turn, work).await
    }

    /// Returns a place in the queue; `None`: the caller is known, and needs none of the strangers' places.
    fn place(&self, turn: &Turn) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let place = turn.is_stranger.then(|| Arc::clone(&self.strangers).try_acquire_owned()).transpose();
        place.map_err(|_| Error::HashQueueFull)
    }

    async fn run_at<T: Send + 'static>(
        &self,
        queued: Instant,
        place: Option<OwnedSemaphorePermit>,
        turn: &Turn,
        work: impl FnOnce(&mut Memory, &mut Hash<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = turn.clone();
        let traced = self.traces.context().map(|context| (self.traces.clone(), context));
        let (begun, beginning) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |memory, counts| {
            drop(place);
            // Skips the work of dropped callers: under load, the threads would otherwise compute hashes that no caller waits
            // for.
            // Noted before the caller may be told: what has begun is never taken for something that has not.
            turn.begun.store(true, Ordering::Release);
            if begun.send(()).is_ok() {
                counts.times.waits.observe(queued.elapsed());
                let mut hash = Hash::of(counts, traced);
                let result = work(memory, &mut hash);
                hash.end();
                // An error means that the caller was dropped during the work.
                let _ = done.send(result);
            }
        });
        // Refused at once if the queue is full: waiting here would make it unbounded.
        self.queue.try_send(job).map_err(|_| Error::HashQueueFull)?;
        // The timeout covers only the wait in the queue. A hash that has started is always awaited, since its cost is
        // spent.
        match timeout(self.wait, beginning).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Error::HashQueueFull),
        }
        result.await.map_err(|_| Error::Internal("the work of a thread that hashes passwords has panicked".to_owned()))
    }

    /// Runs work that needs more memory than a hash thread has of its own. Only one at a time, with memory that is freed
    /// afterwards: with imported hashes, every thread could otherwise need 256 MiB at once.
    pub(super) async fn run_large<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let queued = Instant::now();
        // First: strangers must not fill the places of this queue either.
        let stranger = self.place(turn)?;
        // As long as the queue of the threads, and as strict.
        let _place = self.large_places.try_acquire().map_err(|_| Error::HashQueueFull)?;
        let permit = timeout(self.wait, Arc::clone(&self.large).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Error::HashQueueFull) };
        self.run_at(queued, stranger, turn, move |_own, hash| {
            hash.begin();
            let result = work(&mut Memory::default());
            // Here and not in the future: work that has begun goes on if the caller is gone.
            drop(permit);
            result
        })
        .await
    }

    pub(super) fn hashes_run(&self) -> u64 {
        self.counts.hashes.load(Ordering::Relaxed)
    }

    pub(super) fn times(&self) -> &Times {
        &self.counts.times
    }

    pub(super) fn has_place_for_strangers(&self) -> bool {
        self.strangers.available_permits() > 0
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

fn work(jobs: &Receiver<Job>, counts: &Counts) {
    // A flood of logins must not slow down other routes. If the system refuses the priority, hashing still works.
    if let Err(error) = rustix::process::setpriority_process(None, NICEST) {
        tracing::debug!(%error, "the threads that hash keep their priority");
    }
    let mut memory = Memory::default();
    loop {
        let job = match jobs.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory = Memory::default();
                match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        // A panic must not end the thread: after one for each thread, all logins would be refused. The caller gets an error,
        // since the job drops its sender. The text of the panic is not logged here: it could have a part of a password.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory, counts))).is_err() {
            memory = Memory::default();
            tracing::error!("a password was not processed: the code that checks and hashes passwords panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_does_not_end_a_thread() {
        let config = HashConfig { memory_kib: 8, iterations: 1, threads: 1, queue: 2, wait: Duration::from_secs(5) };
        let pool = Pool::start(&config).unwrap();
        for _ in 0..3 {
            let panicked = pool
                .run(&Turn::known(), |memory| {
                    memory.blocks(8);
                    panic!("on purpose");
                })
                .await;
            assert!(matches!(panicked, Err::<(), _>(Error::Internal(_))), "{panicked:?}");
            assert_eq!(
                pool.run(&Turn::known(), |memory| memory.0.len()).await.unwrap(),
                0,
                "memory of the job that panicked"
            );
            let large = pool.run_large(&Turn::known(), |_| panic!("on purpose")).await;
            assert!(matches!(large, Err::<(), _>(Error::Internal(_))), "{large:?}");
        }
        assert_eq!(pool.run_large(&Turn::known(), |_| 1).await.unwrap(), 1);
    }
}
