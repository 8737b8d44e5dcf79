//! The keys of Firebase hashes: stored sealed, and kept in memory once they were used.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use secrecy::ExposeSecret as _;

use super::{FirebaseKey, sql};
use crate::{
    error::Error,
    secret::MasterKey,
    store::{Store, StoreError, Transaction, conn},
};

/// Reads and caches Firebase keys.
#[derive(Debug)]
pub(super) struct FirebaseKeys {
    store: Store,
    master_key: MasterKey,
    /// Never invalidated: an id belongs to one key for ever.
    cache: RwLock<HashMap<String, Arc<FirebaseKey>>>,
}

impl FirebaseKeys {
    pub(super) fn new(store: &Store, master_key: &MasterKey) -> Self {
        Self { store: store.clone(), master_key: master_key.clone(), cache: RwLock::default() }
    }

    /// Returns the key with this id.
    pub(super) async fn find(&self, id: &str) -> Result<Arc<FirebaseKey>, Error> {
        if let Some(key) = self.cache.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Arc::clone(key));
        }
        let row = conn::optional!(&mut self.store.read().await?, (Vec<u8>,), sql::FIREBASE_KEY, id)?;
        let (sealed,) = row.ok_or_else(|| impossible(id, "it does not exist, and a password hash names it"))?;
        let bytes = open(&self.master_key, &sealed, id)?;
        let key = FirebaseKey::from_bytes(bytes.expose_secret()).filter(|key| key.id() == id);
        let key = Arc::new(key.ok_or_else(|| impossible(id, "it is malformed"))?);
        self.cache.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Arc::clone(&key));
        Ok(key)
    }

    /// Stores a key, unless it is there already.
    pub(super) async fn add(&self, tx: &mut Transaction, key: &FirebaseKey) -> Result<(), Error> {
        let id = key.id();
        let sealed = self.master_key.seal(key.to_bytes().expose_secret(), &context(&id))?;
        conn::execute!(tx, sql::INSERT_FIREBASE_KEY, id.as_str(), sealed)?;
        Ok(())
    }
}

/// Seals all Firebase keys under another master key.
pub(crate) async fn rewrap(tx: &mut Transaction, old: &MasterKey, new: &MasterKey) -> Result<(), Error> {
    for (id, sealed) in conn::all!(tx, (String, Vec<u8>), sql::FIREBASE_KEYS)? {
        let sealed = new.seal(open(old, &sealed, &id)?.expose_secret(), &context(&id))?;
        conn::execute!(tx, sql::RESEAL_FIREBASE_KEY, id.as_str(), sealed)?;
    }
    Ok(())
}

fn open(master_key: &MasterKey, sealed: &[u8], id: &str) -> Result<secrecy::SecretBox<Vec<u8>>, StoreError> {
    master_key.open(sealed, &context(id)).map_err(|_| impossible(id, "it is sealed under another master key"))
}

fn context(id: &str) -> String {
    format!("firebase_keys {id}")
}

fn impossible(id: &str, problem: &str) -> StoreError {
    StoreError::impossible("firebase_keys", id, problem)
}
