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
    /// How often clients had been changed (see [`crate::changes`]) before these were read.
    as_of: i64,
    known: HashMap<String, Arc<Credentials>>,
}

impl Cache {
    /// A client, unless it must be read first; and the number of changes that it is as of.
    pub(super) fn get(&self, id: &str) -> (Option<Arc<Credentials>>, i64) {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (state.known.get(id).cloned(), state.as_of)
    }

    /// Keeps what was read after [`Cache::get`] gave that number, unless it comes too late.
    pub(super) fn keep(&self, credentials: &Arc<Credentials>, as_of: i64) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.as_of == as_of {
            state.known.insert(credentials.client.client_id.to_string(), Arc::clone(credentials));
        }
    }

    /// Has all read again, since clients were changed so often.
    pub(crate) fn forget(&self, as_of: i64) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.as_of = as_of;
        state.known.clear();
    }
}
