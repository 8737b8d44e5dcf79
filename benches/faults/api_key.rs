//! API keys of an account.

use serde_json::json;

use crate::{
    Outcome,
    account::Account,
    http::Request,
    session::text,
    worker::{Said, Worker, lie},
};

const TRIES: u32 = 200;

pub(crate) struct ApiKey {
    id: String,
    key: String,
    is_deleted: bool,
}

impl ApiKey {
    /// Creates a key. `None`: there was no answer; if there is a key, nobody knows it.
    pub(crate) fn create(worker: &mut Worker, account: &Account) -> Outcome<Option<Self>> {
        let path = format!("/admin/users/{}/api-keys", account.id);
        let request = worker.admin("POST", &path).json(&json!({"name": "key", "scopes": ["account"]}));
        match worker.ask(&request)? {
            Said::Done(body) => match (text(&body, "id"), text(&body, "key")) {
                (Some(id), Some(key)) => Ok(Some(Self { id, key, is_deleted: false })),
                _ => Err(lie(&request, "a key", &body)),
            },
            Said::Refused(status, body) => Err(lie(&request, "a key", &(status, body))),
            Said::Unknown | Said::Unsent => Ok(None),
        }
    }

    /// Deletes the key. Returns whether it is known what came of it.
    pub(crate) fn delete(&mut self, worker: &mut Worker, account: &Account) -> Outcome<bool> {
        let request = worker.admin("DELETE", &format!("/admin/users/{}/api-keys/{}", account.id, self.id));
        let mut was_sent = self.is_deleted;
        for _ in 0..TRIES {
            match worker.ask(&request)? {
                Said::Done(_) if !self.is_deleted => self.is_deleted = true,
                Said::Refused(404, _) if was_sent => self.is_deleted = true,
                Said::Done(body) => return Err(lie(&request, "404: it is deleted", &body)),
                Said::Refused(status, body) => return Err(lie(&request, "a deletion", &(status, body))),
                Said::Unknown => {
                    was_sent = true;
                    continue;
                }
                Said::Unsent => continue,
            }
            return Ok(true);
        }
        Ok(!was_sent)
    }

    /// Uses the key: it works if it was not deleted, and if its owner is enabled. It is read from the database at each use.
    pub(crate) fn probe(&self, worker: &mut Worker, account: &Account, replica: Option<usize>) -> Outcome<()> {
        let works = !self.is_deleted && account.state.exists && account.state.enabled;
        let request = Request::new("GET", "/users/me").api_key(&self.key);
        match worker.ask_of(replica, &request)? {
            Said::Done(body) if works && body["username"] == *account.name => Ok(()),
            Said::Refused(401, _) if !works => Ok(()),
            Said::Done(body) => Err(lie(&request, &format!("works: {works}"), &body)),
            Said::Refused(status, body) => Err(lie(&request, &format!("works: {works}"), &(status, body))),
            Said::Unknown | Said::Unsent => Ok(()),
        }
    }
}
