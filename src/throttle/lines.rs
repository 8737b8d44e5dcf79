//! Attempts of this server on the same budget wait for each other: otherwise more right passwords at once than there are
//! free failures would be refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, futures::OwnedNotified};

use super::budget::Key;

/// The budgets with attempts under way. It has at most one entry for each request.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<All>);

#[derive(Default)]
struct All {
    lines: Mutex<HashMap<Key, Line>>,
    freed: AtomicU64,
}

#[derive(Default)]
struct Line {
    running: usize,
    waiting: usize,
    changed: Arc<Notify>,
}

impl Lines {
    /// Notes that an attempt is under way.
    pub(super) fn enter(&self, key: Key) {
        self.lock().entry(key).or_default().running += 1;
    }

    /// Notes that an attempt is over. `is_free`: it does not count as a failure, so that another one may pass.
    pub(super) fn leave(&self, key: Key, is_free: bool) {
        if is_free {
            self.0.freed.fetch_add(1, Ordering::Release);
        }
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(&key) else { return };
        line.running -= 1;
        if line.running == 0 {
            // Nothing is left to wait for.
            line.changed.notify_waiters();
        } else if is_free {
            line.changed.notify_one();
        }
        Self::remove_empty(&mut lines, key);
    }

    /// Returns a wait for the end of an attempt on the budget; none is under way: `None`.
    pub(super) fn wait(&self, key: Key) -> Option<Waiting> {
        let mut lines = self.lock();
        let line = lines.get_mut(&key).filter(|line| line.running > 0)?;
        line.waiting += 1;
        // Created under the lock: an attempt that ends from here on is not missed.
        let changed = Box::pin(Arc::clone(&line.changed).notified_owned());
        Some(Waiting { lines: self.clone(), key, changed })
    }

    /// Returns whether others wait for the budget. A new attempt then waits, too, without a statement that would most
    /// likely be refused.
    pub(super) fn has_queue(&self, key: Key) -> bool {
        self.lock().get(&key).is_some_and(|line| line.waiting > 0)
    }

    /// Returns the number of attempts so far that were freed, on any budget: an attempt that was refused while it changed may
    /// have missed a free place.
    pub(super) fn freed(&self) -> u64 {
        self.0.freed.load(Ordering::Acquire)
    }

    fn remove_empty(lines: &mut HashMap<Key, Line>, key: Key) {
        if lines.get(&key).is_some_and(|line| line.running == 0 && line.waiting == 0) {
            lines.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for the end of another attempt.
pub(super) struct Waiting {
    lines: Lines,
    key: Key,
    changed: std::pin::Pin<Box<OwnedNotified>>,
}

impl Waiting {
    pub(super) async fn end(mut self) {
        self.changed.as_mut().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.key) {
            line.waiting -= 1;
        }
        Lines::remove_empty(&mut lines, self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const KEY: Key = [1; 16];

    async fn ends(waiting: Waiting) -> bool {
        timeout(Duration::from_millis(50), waiting.end()).await.is_ok()
    }

    #[tokio::test]
    async fn a_freed_attempt_lets_one_other_pass() {
        let lines = Lines::default();
        assert!(lines.wait(KEY).is_none());
        lines.enter(KEY);
        lines.enter(KEY);
        let (first, second) = (lines.wait(KEY).unwrap(), lines.wait(KEY).unwrap());
        assert!(lines.has_queue(KEY));
        lines.leave(KEY, true);
        assert!(ends(first).await);
        assert!(!ends(second).await);
        assert!(!lines.has_queue(KEY));
    }

    #[tokio::test]
    async fn the_last_attempt_ends_all_waits() {
        let lines = Lines::default();
        lines.enter(KEY);
        lines.enter(KEY);
        let waits = [lines.wait(KEY).unwrap(), lines.wait(KEY).unwrap()];
        lines.leave(KEY, false);
        lines.leave(KEY, false);
        for waiting in waits {
            assert!(ends(waiting).await);
        }
        assert!(lines.lock().is_empty());
    }
}
