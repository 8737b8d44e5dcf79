//! The role of a worker's accounts.

use std::{thread, time::Instant};

use serde_json::json;

use crate::{
    Outcome,
    model::HORIZON,
    worker::{Said, Worker, lie},
};

/// A role, which gives one scope or two.
pub(crate) struct Role {
    pub(crate) name: String,
    /// Whether it gives the second scope, too. `None`: it was not created.
    is_wide: Option<bool>,
    /// The other value that it may have, and when that can be observed.
    pending: Option<(Instant, bool)>,
}

impl Role {
    pub(crate) fn new(worker: u64) -> Self {
        Self { name: format!("role-{worker}"), is_wide: None, pending: None }
    }

    /// Returns whether it exists, and no change is under way.
    pub(crate) fn is_certain(&self) -> bool {
        self.is_wide.is_some() && self.pending.is_none()
    }

    /// Returns whether an account that has the role, or not, may have these scopes.
    pub(crate) fn may_give<'a>(&self, has_role: bool, scopes: impl Iterator<Item = &'a str>) -> bool {
        let scopes: Vec<_> = scopes.collect();
        let is = |wide: Option<bool>| {
            let own: &[&str] = match wide.filter(|_| has_role) {
                Some(true) => &["account", "roles:read", "users:read"],
                Some(false) => &["account", "users:read"],
                None => &["account"],
            };
            scopes == own
        };
        is(self.is_wide) || self.pending.is_some_and(|(_, wide)| is(Some(wide)))
    }

    pub(crate) fn step(&mut self, worker: &mut Worker) -> Outcome<()> {
        if let Some((due, wide)) = self.pending {
            return if Instant::now() < due { Ok(()) } else { self.settle(worker, wide) };
        }
        let wide = !self.is_wide.unwrap_or(true);
        let scopes = if wide { json!(["users:read", "roles:read"]) } else { json!(["users:read"]) };
        let request = worker.admin("PUT", &format!("/admin/roles/{}", self.name)).json(&json!({"scopes": scopes}));
        match worker.ask(&request)? {
            Said::Done(_) => self.is_wide = Some(wide),
            Said::Refused(status, body) => return Err(lie(&request, "a role", &(status, body))),
            Said::Unknown => self.pending = Some((Instant::now() + HORIZON, wide)),
            Said::Unsent => {}
        }
        Ok(())
    }

    /// Observes what came of a change without an answer.
    fn settle(&mut self, worker: &mut Worker, wide: bool) -> Outcome<()> {
        let request = worker.admin("GET", &format!("/admin/roles/{}", self.name));
        let found = match worker.ask(&request)? {
            Said::Done(body) => body["scopes"].as_array().map(|scopes| scopes.len() == 2),
            Said::Refused(404, _) => None,
            Said::Refused(status, body) => return Err(lie(&request, "a role, or 404", &(status, body))),
            Said::Unknown | Said::Unsent => return Ok(()),
        };
        if found != Some(wide) && found != self.is_wide {
            return Err(lie(&request, &format!("{:?} or {wide}", self.is_wide), &found));
        }
        (self.is_wide, self.pending) = (found, None);
        Ok(())
    }

    pub(crate) fn finish(&mut self, worker: &mut Worker) -> Outcome<()> {
        while let Some((due, wide)) = self.pending {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.settle(worker, wide)?;
        }
        Ok(())
    }
}
