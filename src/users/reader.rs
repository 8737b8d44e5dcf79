//! Reads users for the routes that look at one with each request. Requests that come while a statement is under way share
//! the next one: what they get was read after they asked, and the database is asked less often the more there are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    User,
    sql::{BATCH, BY_ID, BY_IDS, UserRow},
};
use crate::{
    ids::UserId,
    store::{Store, StoreError, run},
};

/// Statements that may be under way at once: as many as SQLite has readers.
const AT_ONCE: usize = 4;

type Answer = Result<Option<Arc<User>>, StoreError>;

/// Reads users by id. Clones share their statements.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Store,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(UserId, oneshot::Sender<Answer>)>,
    under_way: usize,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// A user as the database has it now; none where there is none.
    pub async fn read(&self, id: UserId) -> Answer {
        let (answer, result) = oneshot::channel();
        let begins = {
            let mut queue = self.queue();
            queue.waiting.push((id, answer));
            let begins = queue.under_way < AT_ONCE;
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

    async fn work(self) {
        // Counts itself out also where its runtime stops in the middle of a statement.
        let mut leaving = Leaving { queue: &self.queue, counted: true };
        while let Some(batch) = self.next_batch(&mut leaving) {
            let ids: Vec<UserId> = batch.keys().copied().collect();
            let mut found = match self.read_all(&ids).await {
                Ok(rows) => Ok(rows.into_iter().map(|row| (row.id, User::try_from(row).map(Arc::new))).collect()),
                Err(error) => Err(error),
            };
            for (id, answers) in batch {
                for answer in answers {
                    // Nobody may wait for it any more.
                    let _ = answer.send(answer_of(&mut found, id));
                }
            }
        }
    }

    fn next_batch(&self, leaving: &mut Leaving<'_>) -> Option<HashMap<UserId, Vec<oneshot::Sender<Answer>>>> {
        let mut queue = self.queue();
        let mut batch: HashMap<_, Vec<_>> = HashMap::new();
        let mut left = Vec::new();
        for (id, answer) in queue.waiting.drain(..) {
            if batch.len() < BATCH || batch.contains_key(&id) {
                batch.entry(id).or_default().push(answer);
            } else {
                left.push((id, answer));
            }
        }
        queue.waiting = left;
        if batch.is_empty() {
            // Under the lock that found nothing: whoever comes next finds a place and begins.
            queue.under_way -= 1;
            leaving.counted = false;
            return None;
        }
        Some(batch)
    }

    async fn read_all(&self, ids: &[UserId]) -> Result<Vec<UserRow>, StoreError> {
        let mut conn = self.store.read().await?;
        if let [id] = ids {
            return run::all!(conn, UserRow, BY_ID, *id);
        }
        let id = |at: usize| ids.get(at).or(ids.first()).copied();
        run::all!(
            conn,
            UserRow,
            BY_IDS,
            id(0),
            id(1),
            id(2),
            id(3),
            id(4),
            id(5),
            id(6),
            id(7),
            id(8),
            id(9),
            id(10),
            id(11),
            id(12),
            id(13),
            id(14),
            id(15)
        )
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

struct Leaving<'q> {
    queue: &'q Mutex<Queue>,
    counted: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.counted {
            lock(self.queue).under_way -= 1;
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // What is done under the lock cannot panic half way.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

type Found = HashMap<UserId, Result<Arc<User>, StoreError>>;

fn answer_of(found: &mut Result<Found, StoreError>, id: UserId) -> Answer {
    match found {
        Ok(users) => match users.get(&id) {
            Some(Ok(user)) => Ok(Some(Arc::clone(user))),
            Some(Err(error)) => Err(error.again()),
            None => Ok(None),
        },
        Err(error) => Err(error.again()),
    }
}
