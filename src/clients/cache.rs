//! The cache of clients, which nearly every request needs.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    Credentials,
    sql::{BATCH, BY_ID, BY_IDS, ClientRow},
};
use crate::{
    names::ClientId,
    store::{
        Store, StoreError,
        batch::{Batcher, read_by_key},
    },
};

/// Reads clients in batches, and caches them.
#[derive(Debug)]
pub struct Clients {
    reader: Batcher<ById>,
    cache: RwLock<Cache>,
}

/// The cached clients. Only clients that exist are cached, so requests with invented ids cannot fill the memory.
#[derive(Debug, Default)]
struct Cache {
    /// The number of the change (see [`crate::store::changes`]) at which the cache was last invalidated.
    version: i64,
    clients: HashMap<ClientId, Arc<Credentials>>,
}

impl Clients {
    pub(crate) fn new(store: &Store) -> Self {
        Self { reader: Batcher::new(store.clone()), cache: RwLock::default() }
    }

    /// Reads a client from the database, for requests that issue or revoke tokens: a disabled client gets no token even
    /// from a server that has not synced yet.
    pub(crate) async fn read(&self, id: &ClientId) -> Result<Option<Arc<Credentials>>, StoreError> {
        self.reader.ask(id.clone()).await
    }

    /// Returns a client from the cache, as of this server's last sync, for requests that only verify tokens.
    pub(crate) async fn cached(&self, id: &ClientId) -> Result<Option<Arc<Credentials>>, StoreError> {
        // The lock is released before the database is read: otherwise one slow read would block all requests.
        let version = {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = cache.clients.get(id) {
                return Ok(Some(Arc::clone(found)));
            }
            cache.version
        };
        let found = self.read(id).await?;
        if let Some(found) = &found {
            let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
            // Invalidated during the read: the client may be from before the change, and would stay in the cache until
            // the next change.
            if cache.version == version {
                cache.clients.insert(id.clone(), Arc::clone(found));
            }
        }
        Ok(found)
    }

    /// Invalidates the cache after a change with this number.
    pub(crate) fn invalidate(&self, version: i64) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        // All clients: the change does not tell which client it was, and clients change rarely.
        *cache = Cache { version, clients: HashMap::new() };
    }
}

read_by_key!(
    ById, ClientId => Credentials, ClientRow, BY_ID, BY_IDS, BATCH, [4, 4],
    |id| id.as_str(), |row| row.client_id.parse().ok()
);
