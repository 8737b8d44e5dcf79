//! Attempts of this server on the same budget wait for each other: otherwise more right passwords at once than there are
//! free failures would be refused.
//!
//! Only the first in the line of a budget makes attempts, so that a thousand of them at once cost about as many statements.
//! A line has an entry for each request at most, which bounds its size.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Mutex as Turns, Notify, OwnedMutexGuard},
    time::{Instant, timeout_at},
};

use super::budget::Key;

/// The lines of all budgets with attempts under way. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<Key, Line>>>);

#[derive(Default)]
struct Line {
    /// Attempts that are reserved and not settled.
    running: usize,
    /// Those who are in the line, with its first.
    waiting: usize,
    /// Attempts whose reservation is under way.
    trying: usize,
    turns: Arc<Turns<()>>,
    /// An attempt was settled. A permit is stored while nobody waits, so that none is missed.
    settled: Arc<Notify>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.running == 0 && self.waiting == 0 && self.trying == 0
    }
}

impl Lines {
    /// Counts an attempt that is reserved.
    pub(super) fn enter(&self, key: Key) {
        self.lock().entry(key).or_default().running += 1;
    }

    /// Removes an attempt that is settled.
    pub(super) fn leave(&self, key: Key) {
        self.change(key, |line| {
            line.running -= 1;
            line.settled.notify_one();
        });
    }

    /// Returns who else makes attempts on a budget.
    pub(super) fn others(&self, key: Key) -> Others {
        let lines = self.lock();
        let Some(line) = lines.get(&key) else { return Others::default() };
        Others { running: line.running > 0, waiting: line.waiting > 0, trying: line.trying > 0 }
    }

    /// Counts a reservation that is under way on these budgets, until the result is dropped.
    pub(super) fn try_on(&self, keys: [Key; 3]) -> Trying {
        let mut lines = self.lock();
        for key in keys {
            lines.entry(key).or_default().trying += 1;
        }
        Trying { lines: self.clone(), keys }
    }

    /// Waits to be the first in the line of a budget; `None`: not in time.
    pub(super) async fn turn(&self, key: Key, until: Instant) -> Option<Turn> {
        let (turns, settled) = {
            let mut lines = self.lock();
            let line = lines.entry(key).or_default();
            line.waiting += 1;
            (Arc::clone(&line.turns), Arc::clone(&line.settled))
        };
        // Dropped with this future, so that the line does not count somebody who has left.
        let place = Place { lines: self.clone(), key };
        let turn = timeout_at(until, turns.lock_owned()).await.ok()?;
        Some(Turn { settled, place, _first: turn })
    }

    fn change(&self, key: Key, change: impl FnOnce(&mut Line)) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(&key) else { return };
        change(line);
        if line.is_empty() {
            lines.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who makes attempts on a budget.
#[derive(Clone, Copy, Default)]
pub(super) struct Others {
    pub(super) running: bool,
    pub(super) waiting: bool,
    pub(super) trying: bool,
}

/// A reservation that is under way.
pub(super) struct Trying {
    lines: Lines,
    keys: [Key; 3],
}

impl Drop for Trying {
    fn drop(&mut self) {
        for key in self.keys {
            self.lines.change(key, |line| line.trying -= 1);
        }
    }
}

/// A place in a line.
struct Place {
    lines: Lines,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lines.change(self.key, |line| line.waiting -= 1);
    }
}

/// The first place in a line. The next one is first when it is dropped.
pub(super) struct Turn {
    settled: Arc<Notify>,
    place: Place,
    _first: OwnedMutexGuard<()>,
}

impl Turn {
    /// Returns the budget of the line.
    pub(super) fn key(&self) -> Key {
        self.place.key
    }

    /// Waits until an attempt is settled; `false`: not in time. May return early, once.
    pub(super) async fn settled(&self, until: Instant) -> bool {
        timeout_at(until, self.settled.notified()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: Key = [1; 16];

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test]
    async fn one_at_a_time_has_the_turn() {
        let lines = Lines::default();
        let first = lines.turn(KEY, later()).await.unwrap();
        assert!(lines.turn(KEY, soon()).await.is_none());
        assert!(lines.turn([2; 16], soon()).await.is_some());
        drop(first);
        assert!(lines.turn(KEY, later()).await.is_some());
        assert!(lines.lock().is_empty());
    }

    #[tokio::test]
    async fn a_settled_attempt_is_not_missed() {
        let lines = Lines::default();
        lines.enter(KEY);
        lines.enter(KEY);
        let turn = lines.turn(KEY, later()).await.unwrap();
        // Before the wait begins.
        lines.leave(KEY);
        assert!(turn.settled(later()).await);
        assert!(!turn.settled(soon()).await && lines.others(KEY).running);
        lines.leave(KEY);
        assert!(turn.settled(later()).await && !lines.others(KEY).running);
        drop(turn);
        assert!(lines.lock().is_empty());
    }
}
