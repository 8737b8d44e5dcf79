//! Statements that requests share. Requests that come while one is under way wait for the next, which is for all of them: what
//! they get was read, or done, after they asked, and the database is asked less often the more there are.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Store, StoreError};

/// Statements that Postgres gets at once where two full ones wait.
const MORE_AT_ONCE: usize = 8;

/// A statement that does the same for many.
pub(crate) trait Batch: 'static {
    /// What one request asks for.
    type Asked: Send;
    /// What makes two requests the same: both get the answer that the first asked for.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What a request gets; by default, where the statement finds nothing for it.
    type Answer: Clone + Default + Send;
    /// As many requests as one statement takes.
    const MOST: usize;
    /// Statements that may be under way at once, on SQLite and on Postgres. More wait less, and share less. Postgres may be far
    /// away: it gets more while many wait.
    const AT_ONCE: [usize; 2];

    fn key(asked: &Self::Asked) -> Self::Key;

    /// Runs the statement for 1 to [`Batch::MOST`] requests.
    fn run(store: &Store, asked: Vec<Self::Asked>) -> impl Future<Output = Result<Answers<Self>, StoreError>> + Send;
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
    waiting: Vec<(B::Asked, Sender<B>)>,
    under_way: usize,
}

impl<B: Batch> Batcher<B> {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, queue: Arc::new(Mutex::new(Queue { waiting: Vec::new(), under_way: 0 })) }
    }

    /// What the statement says for this request.
    pub(crate) async fn ask(&self, asked: B::Asked) -> Result<B::Answer, StoreError> {
        let (answer, result) = oneshot::channel();
        let begins = {
            let mut queue = self.queue();
            queue.waiting.push((asked, answer));
            let begins = queue.under_way < self.most_at_once(queue.waiting.len());
            queue.under_way += usize::from(begins);
            begins
        };
        if begins {
            // A task of its own: a client that goes away does not end it for the others.
            tokio::spawn(self.clone().work());
        }
        // A sender that was dropped belongs to a runtime that is being stopped.
        result.await.unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolClosed)))
    }

    fn most_at_once(&self, waiting: usize) -> usize {
        match B::AT_ONCE {
            [_, few] if self.store.is_postgres() && waiting >= 2 * B::MOST => few.max(MORE_AT_ONCE),
            [_, few] if self.store.is_postgres() => few,
            [few, _] => few,
        }
    }

    async fn work(self) {
        // Counts itself out also where its runtime stops in the middle of a statement.
        let mut leaving = Leaving { queue: &self.queue, counted: true };
        while let Some((asked, senders)) = self.next(&mut leaving) {
            let mut answers = B::run(&self.store, asked).await;
            for (key, senders) in senders {
                let answer = match &mut answers {
                    Ok(answers) => answers.remove(&key).unwrap_or_else(|| Ok(B::Answer::default())),
                    Err(error) => Err(error.again()),
                };
                for sender in senders {
                    // Nobody may wait for it any more.
                    let _ = sender.send(match &answer {
                        Ok(answer) => Ok(answer.clone()),
                        Err(error) => Err(error.again()),
                    });
                }
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "said in the name of each half")]
    fn next(&self, leaving: &mut Leaving<'_, B>) -> Option<(Vec<B::Asked>, HashMap<B::Key, Vec<Sender<B>>>)> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() || queue.under_way > self.most_at_once(queue.waiting.len()) {
            // Under the lock that found it so: whoever comes next finds a place and begins, or somebody at work.
            queue.under_way -= 1;
            leaving.counted = false;
            return None;
        }
        let (mut all, mut left) = (Vec::new(), Vec::new());
        let mut senders: HashMap<_, Vec<_>> = HashMap::new();
        for (asked, sender) in queue.waiting.drain(..) {
            let key = B::key(&asked);
            if let Some(same) = senders.get_mut(&key) {
                same.push(sender);
            } else if all.len() < B::MOST {
                all.push(asked);
                senders.insert(key, vec![sender]);
            } else {
                left.push((asked, sender));
            }
        }
        queue.waiting = left;
        Some((all, senders))
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
            queue.under_way -= 1;
            if queue.under_way == 0 {
                // Nobody is left to answer them.
                queue.waiting.clear();
            }
        }
    }
}

fn lock<B: Batch>(queue: &Mutex<Queue<B>>) -> MutexGuard<'_, Queue<B>> {
    // What is done under the lock cannot panic half way.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
