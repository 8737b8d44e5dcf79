//! A map whose entries expire.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

/// The times of a revocation, in whole seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Until {
    pub(super) revoked_at: i64,
    pub(super) expires_at: i64,
    /// The number of the update that it came with.
    pub(super) update: u64,
}

/// Revoked ids and their times, indexed by expiry.
///
/// Both collections are trees: adding, finding and removing an entry takes O(log n) steps, and frees the memory of
/// removed entries. A hash table would be faster to read, but moves all entries when it grows or shrinks, and requests
/// would wait for that.
pub(super) struct ExpiringMap<K = Arc<str>> {
    by_id: BTreeMap<K, Until>,
    /// One entry for each entry of `by_id`, always with the same `expires_at`: an entry with another time would never be
    /// removed.
    by_expiry: BTreeSet<(i64, K)>,
}

impl<K: Ord> Default for ExpiringMap<K> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), by_expiry: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> ExpiringMap<K> {
    /// Adds an entry. For an id that exists, keeps the later of both times: an older page of the feed must not shorten a
    /// revocation.
    pub(super) fn add(&mut self, id: K, new: Until) {
        match self.by_id.entry(id) {
            Entry::Vacant(entry) => {
                self.by_expiry.insert((new.expires_at, entry.key().clone()));
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                let Until { revoked_at, expires_at, update } = *entry.get();
                if new.expires_at > expires_at {
                    self.by_expiry.remove(&(expires_at, entry.key().clone()));
                    self.by_expiry.insert((new.expires_at, entry.key().clone()));
                }
                let until = entry.get_mut();
                until.revoked_at = revoked_at.max(new.revoked_at);
                until.expires_at = expires_at.max(new.expires_at);
                until.update = update.max(new.update);
            }
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, id: &Q) -> Option<&Until>
    where
        K: Borrow<Q>,
    {
        self.by_id.get(id)
    }

    /// Removes expired entries, at most `limit`, and returns their number. It examines at most one entry that has not
    /// expired.
    pub(super) fn remove_expired(&mut self, now: i64, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && self.by_expiry.first().is_some_and(|(expires_at, _)| *expires_at <= now)
            && let Some((_, id)) = self.by_expiry.pop_first()
        {
            self.by_id.remove(&id);
            removed += 1;
        }
        removed
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_id.len(), self.by_expiry.len(), "the index has each entry once");
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use super::*;

    thread_local! {
        static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    /// An id that counts how often it is compared.
    #[derive(Clone, PartialEq, Eq)]
    struct Counting(usize);

    impl Ord for Counting {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counting {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    fn comparisons(work: impl FnOnce()) -> usize {
        COMPARISONS.set(0);
        work();
        COMPARISONS.get()
    }

    #[test]
    fn the_work_for_one_entry_does_not_grow_with_the_others() {
        let mut map = ExpiringMap::default();
        let year = |id| (Counting(id), Until { revoked_at: 0, expires_at: 31_536_000, update: 0 });
        for (id, until) in (0..100_000).map(year) {
            map.add(id, until);
        }
        // Three searches, in trees of at most seven levels with at most eleven entries in a node.
        let most = 3 * 7 * 11;
        let (id, until) = year(100_000);
        let add = comparisons(|| map.add(id, until));
        assert!(add <= most, "{add}");
        let extend = comparisons(|| map.add(Counting(7), Until { revoked_at: 1, expires_at: 31_536_001, update: 0 }));
        assert!(extend <= most, "{extend}");
        assert_eq!(comparisons(|| assert_eq!(map.remove_expired(31_535_999, usize::MAX), 0)), 0);
        let remove = comparisons(|| assert_eq!(map.remove_expired(31_536_000, 1), 1));
        assert!(remove <= most, "{remove}");
        assert_eq!(map.len(), 100_000);
    }

    #[test]
    fn an_entry_that_was_extended_expires_later() {
        let mut map = ExpiringMap::<Arc<str>>::default();
        for expires_at in [10, 30, 20] {
            map.add("x".into(), Until { revoked_at: expires_at, expires_at, update: 0 });
        }
        map.add("y".into(), Until { revoked_at: 0, expires_at: 20, update: 0 });
        assert_eq!((map.remove_expired(29, usize::MAX), map.len()), (1, 1));
        assert!(map.get("y").is_none());
        assert!(map.get("x").is_some_and(|until| until.revoked_at == 30));
        assert_eq!((map.remove_expired(30, usize::MAX), map.len()), (1, 0));
    }
}
