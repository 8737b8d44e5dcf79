//! Request coalescing for reads, and group commit for writes.
//!
//! Requests that come while a statement is under way wait for the next one, which serves all of them. The more requests there
//! are, the fewer statements each costs. Three rules:
//! - A request is never served by a statement that began before it: what it gets was read, or written, after it came.
//! - A request waits for the database's timeout at most. One whose caller has left is dropped before its statement begins.
//! - Requests with the same key share one answer.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Store, StoreError};

/// Statements that may run on Postgres while two full ones wait: it may be far away.
const MORE_CONCURRENT: usize = 8;

/// A statement that does the same for many.
pub(crate) trait Batch: 'static {
    /// What one request asks for.
    type Request: Send;
    /// What makes two requests the same: both get one answer.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What a request gets; by default, where the statement finds nothing for it.
    type Answer: Clone + Default + Send;
    /// The largest number of requests that one statement serves.
    const MAX: usize;
    /// Statements that may run at the same time, on SQLite and on Postgres. With more, requests wait less and share less.
    const CONCURRENT: [usize; 2];

    fn key(request: &Self::Request) -> Self::Key;

    /// Runs the statement for 1 to [`Batch::MAX`] requests.
    fn run(
        store: &Store,
        requests: Vec<Self::Request>,
    ) -> impl Future<Output = Result<Answers<Self>, StoreError>> + Send;
}

/// What a statement found, by request.
pub(crate) type Answers<B> = HashMap<<B as Batch>::Key, Result<<B as Batch>::Answer, StoreError>>;

type Sender<B> = oneshot::Sender<Result<<B as Batch>::Answer, StoreError>>;

/// Collects requests for a statement. Clones share it.
pub(crate) struct Batcher<B: Batch> {
    store: Store,
    queue: Arc<Mutex<Queue<B>>>,
}

struct Queue<B: Batch> {
    waiting: Vec<(B::Request, Sender<B>)>,
    running: usize,
}

impl<B: Batch> Batcher<B> {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, queue: Arc::new(Mutex::new(Queue { waiting: Vec::new(), running: 0 })) }
    }

    /// Returns the statement's answer to this request.
    pub(crate) async fn ask(&self, request: B::Request) -> Result<B::Answer, StoreError> {
        let (answer, result) = oneshot::channel();
        let begins = {
            let mut queue = self.queue();
            queue.waiting.push((request, answer));
            let begins = queue.running < self.concurrency(queue.waiting.len());
            queue.running += usize::from(begins);
            begins
        };
        if begins {
            // A task of its own: a caller who leaves does not end it for the others.
            tokio::spawn(self.clone().work());
        }
        match tokio::time::timeout(self.store.timeout(), result).await {
            Ok(Ok(answer)) => answer,
            // The sender was dropped with a runtime that is being stopped.
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

    async fn work(self) {
        // Counts itself out even if its runtime stops in the middle of a statement.
        let mut leaving = Leaving { queue: &self.queue, counted: true };
        while let Some((requests, senders)) = self.next(&mut leaving) {
            let mut answers = B::run(&self.store, requests).await;
            for (key, senders) in senders {
                let answer = match &mut answers {
                    Ok(answers) => answers.remove(&key).unwrap_or_else(|| Ok(B::Answer::default())),
                    Err(error) => Err(error.again()),
                };
                for sender in senders {
                    // The caller may have left.
                    let _ = sender.send(match &answer {
                        Ok(answer) => Ok(answer.clone()),
                        Err(error) => Err(error.again()),
                    });
                }
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "said in the name of each half")]
    fn next(&self, leaving: &mut Leaving<'_, B>) -> Option<(Vec<B::Request>, HashMap<B::Key, Vec<Sender<B>>>)> {
        let mut queue = self.queue();
        // Callers who have left cost no statement.
        queue.waiting.retain(|(_, sender)| !sender.is_closed());
        if queue.waiting.is_empty() || queue.running > self.concurrency(queue.waiting.len()) {
            // Under the same lock: the next request either starts a statement or finds one running.
            queue.running -= 1;
            leaving.counted = false;
            return None;
        }
        let (mut batch, mut left) = (Vec::new(), Vec::new());
        let mut senders: HashMap<_, Vec<_>> = HashMap::new();
        for (request, sender) in queue.waiting.drain(..) {
            let key = B::key(&request);
            if let Some(same) = senders.get_mut(&key) {
                same.push(sender);
            } else if batch.len() < B::MAX {
                batch.push(request);
                senders.insert(key, vec![sender]);
            } else {
                left.push((request, sender));
            }
        }
        queue.waiting = left;
        Some((batch, senders))
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
                // No statement is left to serve them.
                queue.waiting.clear();
            }
        }
    }
}

fn lock<B: Batch>(queue: &Mutex<Queue<B>>) -> MutexGuard<'_, Queue<B>> {
    // What is done under the lock cannot panic half way.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a type read rows by a key, many with one statement: `$one` takes one key and `$many` takes `$batch` of them, where the
/// places that are left over repeat a key. A row that cannot be is an error for who asked for it alone.
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
