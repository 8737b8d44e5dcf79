//! The worker threads: their requests under way and open connections, and whether they respond.
//!
//! A server stops in this order: new requests are refused ([`App::stop`]) and no longer counted here, requests under way are
//! answered, connections are closed. From then on, what callers send is not read.

use std::{
    cmp::min,
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{dev::ServerHandle, rt};
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::connections::LINGER;
use crate::app::App;

/// How long new requests are refused before the connections are closed: requests that are already on their way get an answer.
const REFUSE: Duration = Duration::from_millis(200);

/// What the worker threads of a server share.
#[derive(Debug)]
pub(super) struct Workers {
    /// The number of entries of `list` once all workers have started: one for each thread and address.
    expected: usize,
    list: Mutex<Vec<Entry>>,
    is_stopping: AtomicBool,
    is_closing: watch::Sender<bool>,
    /// A worker has started, or, while the server stops, a count has changed.
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    counts: Arc<Counts>,
    pings: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// Written by one thread only: counting a request must not wait for the memory of other threads.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
}

impl Workers {
    pub(super) fn new(expected: usize) -> Arc<Self> {
        Arc::new(Self {
            expected,
            list: Mutex::default(),
            is_stopping: false.into(),
            is_closing: watch::Sender::new(false),
            changed: Notify::new(),
        })
    }

    /// Adds a worker, in its thread. It is removed when the result is dropped, also by a panic of the thread.
    pub(super) fn start(self: &Arc<Self>) -> Rc<Worker> {
        let (pings, mut pinged) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        rt::spawn(async move {
            while let Some(ping) = pinged.recv().await {
                // An error: nobody waits for it any more.
                let _ = ping.send(());
            }
        });
        let counts = Arc::<Counts>::default();
        self.list().push(Entry { counts: Arc::clone(&counts), pings });
        self.changed.notify_waiters();
        Rc::new(Worker { workers: Arc::clone(self), counts })
    }

    /// Waits until all workers have started.
    pub(super) async fn started(&self) {
        self.wait_until(|| self.list().len() >= self.expected).await;
    }

    /// Waits until all workers have run a task. Does not return as long as one is missing, or blocked.
    pub(super) async fn respond(&self) {
        loop {
            self.started().await;
            let pings: Vec<_> = self.list().iter().map(ping).collect();
            if join_all(pings).await.iter().all(Result::is_ok) {
                return;
            }
            // One has died meanwhile. actix replaces it with the next connection.
            rt::task::yield_now().await;
        }
    }

    /// Returns the number of requests under way. After [`Workers::stop`], it does not grow, except for a response that its caller
    /// does not take.
    fn requests(&self) -> usize {
        self.list().iter().map(|entry| entry.counts.requests.load(Ordering::SeqCst)).sum()
    }

    fn connections(&self) -> usize {
        self.list().iter().map(|entry| entry.counts.connections.load(Ordering::SeqCst)).sum()
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    fn close(&self) {
        self.is_closing.send_replace(true);
    }

    async fn wait_until(&self, is_done: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look: a change after it must wake this.
            changed.as_mut().enable();
            if is_done() {
                return;
            }
            changed.await;
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ping(entry: &Entry) -> oneshot::Receiver<()> {
    let (ping, answer) = oneshot::channel();
    // An error drops the sender, and so ends the wait for the answer with an error, too.
    let _ = entry.pings.send(ping);
    answer
}

/// A worker thread, at one address.
pub(super) struct Worker {
    workers: Arc<Workers>,
    counts: Arc<Counts>,
}

impl Worker {
    /// Counts a request until the result is dropped. `None`: the server stops, and the request will be refused.
    pub(super) fn begin(self: &Rc<Self>) -> Option<Counted> {
        let counted = self.count(|counts| &counts.requests);
        // In this order: `Workers::stop` sets the flag before it reads the counts, so that one of both sees the other.
        (!self.workers.is_stopping.load(Ordering::SeqCst)).then_some(counted)
    }

    /// Counts a response that its caller does not take, whether or not the server stops.
    pub(super) fn waits_for_caller(self: &Rc<Self>) -> Counted {
        self.count(|counts| &counts.requests)
    }

    /// Counts a connection until the result is dropped.
    pub(super) fn connect(self: &Rc<Self>) -> Counted {
        self.count(|counts| &counts.connections)
    }

    /// Waits until the server closes its connections.
    pub(super) async fn closing(&self) {
        // An error would mean that `workers` was dropped.
        let _ = self.workers.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }

    fn count(self: &Rc<Self>, of: fn(&Counts) -> &AtomicUsize) -> Counted {
        of(&self.counts).fetch_add(1, Ordering::SeqCst);
        Counted { worker: Rc::clone(self), of }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.workers.list().retain(|entry| !Arc::ptr_eq(&entry.counts, &self.counts));
        self.workers.changed.notify_waiters();
    }
}

/// A request or a connection that is counted.
pub(super) struct Counted {
    worker: Rc<Worker>,
    of: fn(&Counts) -> &AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.worker.counts).fetch_sub(1, Ordering::SeqCst);
        if self.worker.workers.is_stopping.load(Ordering::SeqCst) {
            self.worker.workers.changed.notify_waiters();
        }
    }
}

/// Stops a running server.
pub struct Stop {
    pub(super) app: Arc<App>,
    pub(super) workers: Arc<Workers>,
    pub(super) server: ServerHandle,
}

impl Stop {
    /// Stops the server now, and aborts the requests under way.
    pub fn at_once(self) {
        // The command is sent by the call.
        drop(self.server.stop(false));
    }

    /// Stops the server when the requests under way were answered, or after `GRANTD_SHUTDOWN_TIMEOUT`. Returns the number of requests
    /// that were cut off then.
    pub async fn gracefully(self) -> usize {
        let Self { app, workers, server } = self;
        let stopped = Instant::now();
        let deadline = stopped + app.config.http.shutdown_timeout;
        app.stop();
        workers.stop();
        let answered = timeout_at(deadline, workers.wait_until(|| workers.requests() == 0)).await;
        if answered.is_ok() {
            sleep_until(min(stopped + REFUSE, deadline)).await;
            close(&workers, &server, deadline).await;
        }
        let cut_off = workers.requests();
        server.stop(false).await;
        cut_off
    }
}

/// Closes the connections, after their last response. Those of callers that do not close their side in time are dropped.
async fn close(workers: &Workers, server: &ServerHandle, deadline: Instant) {
    server.pause().await;
    workers.close();
    let _ = timeout(LINGER, workers.wait_until(|| workers.connections() == 0)).await;
    // The end of a large response may still be on its way.
    let _ = timeout_at(deadline, workers.wait_until(|| workers.requests() == 0)).await;
}

/// The health of a running server, for a supervisor.
pub struct Pulse {
    pub(super) workers: Arc<Workers>,
    pub(super) turns: watch::Receiver<()>,
}

impl Pulse {
    /// Waits until the server answers requests.
    pub async fn ready(&self) {
        self.workers.started().await;
    }

    /// Waits until each worker thread has run a task, and the sync of the caches has made a step. Does not return if one of them is
    /// blocked or has died. A database that is down is no reason: the sync continues to try.
    pub async fn beat(&mut self) {
        self.workers.respond().await;
        self.turns.mark_unchanged();
        if self.turns.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Barrier,
        thread::{self, JoinHandle},
    };

    use super::{Arc, Duration, Workers, rt, timeout};

    /// Starts a worker in a thread of its own. A barrier that is sent to it blocks it between its first wait and its second.
    fn worker(workers: &Arc<Workers>) -> (tokio::sync::mpsc::UnboundedSender<Arc<Barrier>>, JoinHandle<()>) {
        let (block, mut blocks) = tokio::sync::mpsc::unbounded_channel::<Arc<Barrier>>();
        let workers = Arc::clone(workers);
        let thread = thread::spawn(move || {
            rt::System::new().block_on(async move {
                let _worker = workers.start();
                while let Some(barrier) = blocks.recv().await {
                    barrier.wait();
                    barrier.wait();
                }
            });
        });
        (block, thread)
    }

    #[actix_web::test]
    async fn a_blocked_worker_does_not_respond() {
        let workers = Workers::new(2);
        let (first, _) = worker(&workers);
        let (second, thread) = worker(&workers);
        workers.respond().await;
        let barrier = Arc::new(Barrier::new(2));
        first.send(Arc::clone(&barrier)).unwrap();
        barrier.wait();
        assert!(timeout(Duration::from_millis(100), workers.respond()).await.is_err());
        barrier.wait();
        workers.respond().await;
        // A worker that has ended is missed.
        drop(second);
        thread.join().unwrap();
        assert!(timeout(Duration::from_millis(100), workers.respond()).await.is_err());
    }

    #[actix_web::test]
    async fn requests_are_counted_until_the_server_stops() {
        let workers = Workers::new(1);
        let worker = workers.start();
        let first = worker.begin();
        assert_eq!(workers.requests(), 1);
        workers.stop();
        assert!(worker.begin().is_none());
        assert_eq!(workers.requests(), 1);
        let late = worker.waits_for_caller();
        let mut waits = std::pin::pin!(workers.wait_until(|| workers.requests() == 0));
        drop(first);
        assert!(timeout(Duration::from_millis(10), &mut waits).await.is_err());
        drop(late);
        waits.await;
    }
}
