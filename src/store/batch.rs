//! Request coalescing for reads, and group commit for writes.
//!
//! Requests that arrive while a statement is running are queued and coalesced into the next statement. The higher the
//! load, the fewer statements a request costs. Three rules:
//! - A request is never served by a statement that started before it arrived. Its result is never older than the request.
//! - A request waits for at most the database timeout. Requests of dropped callers leave the queue before their statement
//!   starts.
//! - Requests with the same key share one answer (single-flight).

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry::{Context, trace::FutureExt as _};
use tokio::sync::oneshot;

use super::{Store, StoreError};
use crate::traces::Traces;

/// Concurrent statements on Postgres while two full batches are queued: with a high latency, few statements at a time
/// would limit the throughput.
const MORE_CONCURRENT: usize = 8;

/// A statement that serves many requests at once.
pub(crate) trait Batch: 'static {
    /// The parameters of one request.
    type Request: Send;
    /// The identity of a request: requests with the same key share one answer.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// The answer to a request; the default, if the statement finds nothing for it.
    type Answer: Clone + Default + Send;
    /// The largest number of requests that one statement serves.
    const MAX: usize;
    /// Statements that may run at the same time, on SQLite and on Postgres. With more, requests wait less and are
    /// coalesced less.
    const CONCURRENT: [usize; 2];

    /// Returns the key of a request.
    fn key(request: &Self::Request) -> Self::Key;

    /// Runs the statement for 1 to [`Batch::MAX`] requests.
    fn run(
        store: &Store,
        requests: Vec<Self::Request>,
    ) -> impl Future<Output = Result<Answers<Self>, StoreError>> + Send;
}

/// The answers of a statement, by the keys of the requests.
pub(crate) type Answers<B> = HashMap<<B as Batch>::Key, Result<<B as Batch>::Answer, StoreError>>;

type Sender<B> = oneshot::Sender<Result<<B as Batch>::Answer, StoreError>>;

/// Queues requests and runs them in batches. Clones share the queue.
pub(crate) struct Batcher<B: Batch> {
    store: Store,
    queue: Arc<Mutex<Queue<B>>>,
}

struct Queue<B: Batch> {
    waiting: Vec<Waiting<B>>,
    /// Tasks that run statements.
    running: usize,
}

/// A request that waits for a statement.
struct Waiting<B: Batch> {
    request: B::Request,
    sender: Sender<B>,
    /// The context of its traces, if there are any.
    context: Option<Context>,
}

/// The requests of a statement.
struct Next<B: Batch> {
    requests: Vec<B::Request>,
    /// The callers that wait for each key.
    senders: HashMap<B::Key, Vec<Sender<B>>>,
    contexts: Vec<Context>,
}

impl<B: Batch> Batcher<B> {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, queue: Arc::new(Mutex::new(Queue { waiting: Vec::new(), running: 0 })) }
    }

    /// Queues a request and returns its answer. Dropping the future removes the request, unless its statement has
    /// started.
    pub(crate) async fn ask(&self, request: B::Request) -> Result<B::Answer, StoreError> {
        let (answer, result) = oneshot::channel();
        let begins = {
            let mut queue = self.queue();
            queue.waiting.push(Waiting { request, sender: answer, context: self.store.traces().context() });
            // Counted under the lock that queues the request. Otherwise the last task could end in between, and no task
            // would serve the request.
            let begins = queue.running < self.concurrency(queue.waiting.len());
            queue.running += usize::from(begins);
            begins
        };
        if begins {
            // A task of its own: a caller that is dropped must not cancel the statement of the others.
            tokio::spawn(self.clone().work());
        }
        // The deadline covers the time in the queue, too: a slow database must not keep requests for longer than the
        // timeout.
        match tokio::time::timeout(self.store.timeout(), result).await {
            Ok(Ok(answer)) => answer,
            // The runtime that ran the batch is shutting down and dropped the sender.
            Ok(Err(_)) => Err(StoreError::Unavailable(sqlx::Error::PoolClosed)),
            Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    fn concurrency(&self, waiting: usize) -> usize {
        match B::CONCURRENT {
            [_, few] if self.store.is_postgres() && waiting >= 2 * B::MAX => few.max(MORE_CONCURRENT),
            [_, few] if self.store.is_postgres() => few,
            [few, _] => few,
        }
    }

    /// Runs batches until the queue is empty.
    async fn work(self) {
        // Decrements `running` even if the task is dropped in the middle of a statement. Otherwise later requests would
        // wait for a task that no longer exists.
        let mut leaving = Leaving { queue: &self.queue, counted: true };
        while let Some(Next { requests, senders, contexts }) = self.next(&mut leaving) {
            let run = B::run(&self.store, requests);
            let mut answers = match Traces::shared(contexts) {
                Some(context) => run.with_context(context).await,
                None => run.await,
            };
            for (key, senders) in senders {
                let answer = match &mut answers {
                    Ok(answers) => answers.remove(&key).unwrap_or_else(|| Ok(B::Answer::default())),
                    Err(error) => Err(error.again()),
                };
                for sender in senders {
                    // An error means that the caller was dropped or timed out.
                    let _ = sender.send(match &answer {
                        Ok(answer) => Ok(answer.clone()),
                        Err(error) => Err(error.again()),
                    });
                }
            }
        }
    }

    /// Takes the next batch from the queue. `None`: the task ends.
    fn next(&self, leaving: &mut Leaving<'_, B>) -> Option<Next<B>> {
        let mut queue = self.queue();
        // Requests of dropped callers are skipped: they must not cost a statement, nor rotate a token without a response.
        queue.waiting.retain(|waiting| !waiting.sender.is_closed());
        if queue.waiting.is_empty() || queue.running > self.concurrency(queue.waiting.len()) {
            // Under the lock of the check above: the next request either starts a task or finds one that will serve it.
            queue.running -= 1;
            leaving.counted = false;
            return None;
        }
        let mut next = Next { requests: Vec::new(), senders: HashMap::new(), contexts: Vec::new() };
        let mut left = Vec::new();
        for Waiting { request, sender, context } in queue.waiting.drain(..) {
            let key = B::key(&request);
            // Requests with the same key join the batch even if it is full, since they add no row to the statement.
            if let Some(same) = next.senders.get_mut(&key) {
                same.push(sender);
            } else if next.requests.len() < B::MAX {
                next.requests.push(request);
                next.senders.insert(key, vec![sender]);
            } else {
                left.push(Waiting { request, sender, context });
                continue;
            }
            next.contexts.extend(context);
        }
        queue.waiting = left;
        Some(next)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<B>> {
        lock(&self.queue)
    }
}

impl<B: Batch> Clone for Batcher<B> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), queue: Arc::clone(&self.queue) }
    }
}

impl<B: Batch> fmt::Debug for Batcher<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batcher")
    }
}

/// Removes a task from the count of running tasks when it is dropped.
struct Leaving<'q, B: Batch> {
    queue: &'q Mutex<Queue<B>>,
    counted: bool,
}

impl<B: Batch> Drop for Leaving<'_, B> {
    fn drop(&mut self) {
        if self.counted {
            let mut queue = lock(self.queue);
            queue.running -= 1;
            if queue.running == 0 {
                // No task is left to serve these requests. Dropping their senders fails them now instead of at the
                // deadline.
                queue.waiting.clear();
            }
        }
    }
}

fn lock<B: Batch>(queue: &Mutex<Queue<B>>) -> MutexGuard<'_, Queue<B>> {
    // A poisoned lock is safe to use: no code under it can panic with the queue half changed.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Defines a [`Batch`] that reads rows by key: `$one` takes one key and `$many` takes `$batch` keys; unused parameters
/// repeat a key. An impossible row is an error only for the requests with its key.
macro_rules! read_by_key {
    (
        $reader:ident, $key:ty => $value:ty, $row:ty, $one:expr, $many:expr, $batch:expr, $concurrent:expr,
        |$id:ident| $bind:expr, |$found:ident| $key_of:expr
    ) => {
        struct $reader;

        impl $crate::store::batch::Batch for $reader {
            type Request = $key;
            type Key = $key;
            type Answer = Option<std::sync::Arc<$value>>;
            const MAX: usize = $batch;
            const CONCURRENT: [usize; 2] = $concurrent;

            fn key(id: &$key) -> $key {
                id.clone()
            }

            async fn run(
                store: &$crate::store::Store,
                ids: Vec<$key>,
            ) -> Result<$crate::store::batch::Answers<Self>, $crate::store::StoreError> {
                let mut conn = store.read().await?;
                let rows = match &ids[..] {
                    [$id] => $crate::store::conn::all!(conn, $row, $one, $bind)?,
                    _ => {
                        $crate::store::conn::all_of!(conn, $row, $many, ids.iter().cycle().take($batch), |$id| [$bind])?
                    }
                };
                let found = rows.into_iter().filter_map(|$found| {
                    Some(($key_of?, <$value>::try_from($found).map(|value| Some(std::sync::Arc::new(value)))))
                });
                Ok(found.collect())
            }
        }
    };
}
pub(crate) use read_by_key;
