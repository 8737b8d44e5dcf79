//! Clients that were read before: nearly every request names one, and they rarely change.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Credentials;

/// The clients that this server has read since they were last changed (see [`crate::changes`]). Only those that there are:
/// names that somebody invents take no room.
#[derive(Debug, Default)]
pub struct Cache(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Raised when all are forgotten: what was read before comes too late.
    generation: u64,
    known: HashMap<String, Arc<Credentials>>,
}

impl Cache {
    /// A client, or the generation for [`Cache::keep`].
    pub(super) fn get(&self, id: &str) -> Result<Arc<Credentials>, u64> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.known.get(id).cloned().ok_or(state.generation)
    }

    pub(super) fn keep(&self, credentials: &Arc<Credentials>, generation: u64) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation == generation {
            state.known.insert(credentials.client.client_id.to_string(), Arc::clone(credentials));
        }
    }

    /// Has all read again.
    pub(crate) fn forget(&self) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.generation += 1;
        state.known.clear();
    }
}
