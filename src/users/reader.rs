//! Coalesced reads of users, for routes that check the user with each request.

use std::sync::Arc;

use super::{
    User,
    sql::{BATCH, BY_ID, BY_IDS, UserRow},
};
use crate::{
    ids::UserId,
    store::{
        Store, StoreError,
        batch::{Batcher, read_by_key},
    },
};

/// Reads users by id, in batches. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Reader(Batcher<ById>);

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        Self(Batcher::new(store))
    }

    /// Returns the user with this id, if it exists. It is read from the database, not from a cache.
    pub async fn read(&self, id: UserId) -> Result<Option<Arc<User>>, StoreError> {
        self.0.ask(id).await
    }
}

// On SQLite as many statements at a time as there are read connections: more would only wait for one.
read_by_key!(ById, UserId => User, UserRow, BY_ID, BY_IDS, BATCH, [4, 2], |id| *id, |row| Some(row.id));
