//! Reads users for the routes that look at one with each request.

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

/// Reads users by id, many with one statement. Clones share it.
#[derive(Clone, Debug)]
pub struct Reader(Batcher<ById>);

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        Self(Batcher::new(store))
    }

    /// A user as the database has it now; none where there is none.
    pub async fn read(&self, id: UserId) -> Result<Option<Arc<User>>, StoreError> {
        self.0.ask(id).await
    }
}

// SQLite: as many at the same time as it has readers.
read_by_key!(ById, UserId => User, UserRow, BY_ID, BY_IDS, BATCH, [4, 2], |id| *id, |row| Some(row.id));
