//! Reads users for the routes that look at one with each request.

use std::{collections::HashMap, sync::Arc};

use super::{
    User,
    sql::{BATCH, BY_ID, BY_IDS, UserRow},
};
use crate::{
    ids::UserId,
    store::{
        Store, StoreError,
        batch::{Answers, Batch, Batcher},
        conn,
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

struct ById;

impl Batch for ById {
    type Request = UserId;
    type Key = UserId;
    type Answer = Option<Arc<User>>;
    const MAX: usize = BATCH;
    /// SQLite: as many as it has readers.
    const CONCURRENT: [usize; 2] = [4, 2];

    fn key(id: &UserId) -> UserId {
        *id
    }

    async fn run(store: &Store, ids: Vec<UserId>) -> Result<Answers<Self>, StoreError> {
        let mut conn = store.read().await?;
        let rows = match ids[..] {
            [id] => conn::all!(conn, UserRow, BY_ID, id)?,
            // The places that are left over repeat an id.
            _ => conn::all_of!(conn, UserRow, BY_IDS, ids.iter().cycle().take(BATCH), |id| [*id])?,
        };
        let found = rows.into_iter().map(|row| (row.id, User::try_from(row).map(|user| Some(Arc::new(user)))));
        Ok(found.collect::<HashMap<_, _>>())
    }
}
