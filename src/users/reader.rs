//! Coalesced reads of users, for routes that check the user with each request.

use std::sync::Arc;

use super::{
    Login, User,
    sql::{BATCH, BY_ID, BY_IDS, LOGIN_BY_ID, LOGINS_BY_IDS, LoginRow, UserRow},
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
pub struct Reader {
    users: Batcher<ById>,
    logins: Batcher<LoginById>,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        Self { users: Batcher::new(store.clone()), logins: Batcher::new(store) }
    }

    /// Returns the user with this id, if it exists. It is read from the database, not from a cache.
    pub async fn read(&self, id: UserId) -> Result<Option<Arc<User>>, StoreError> {
        self.users.ask(id).await
    }

    /// Returns the user with this id and the password hash, like [`Reader::read`].
    pub(crate) async fn read_login(&self, id: UserId) -> Result<Option<Arc<Login>>, StoreError> {
        self.logins.ask(id).await
    }
}

// On SQLite as many statements at a time as there are read connections: more would only wait for one.
read_by_key!(ById, UserId => User, UserRow, BY_ID, BY_IDS, BATCH, [4, 2], |id| *id, |row| Some(row.id));
read_by_key!(
    LoginById, UserId => Login, LoginRow, LOGIN_BY_ID, LOGINS_BY_IDS, BATCH, [4, 2], |id| *id, |row| Some(row.user.id)
);
