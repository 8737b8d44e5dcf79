//! API keys of an account.

use serde_json::json;

use crate::{
    Outcome,
    account::Account,
    ended::Ended,
    http::Request,
    session::text,
    worker::{Said, Worker, lie},
};

const TRIES: u32 = 200;

pub(crate) struct ApiKey {
    id: String,
    key: String,
}

impl ApiKey {
    /// Creates a key. `None`: there was no answer; if there is a key, nobody knows it.
    pub(crate) fn create(worker: &mut Worker, account: &Account) -> Outcome<Option<Self>> {
        let path = account.path("/api-keys");
        let request = worker.admin("POST", &path).json(&json!({"name": "key", "scopes": ["account"]}));
        match worker.ask(&request)? {
            Said::Done(body) => match (text(&body, "id"), text(&body, "key")) {
                (Some(id), Some(key)) => Ok(Some(Self { id, key })),
                _ => Err(lie(&request, "a key", &body)),
            },
            Said::Refused(status, body) => Err(lie(&request, "a key", &(status, body))),
            Said::Unknown | Said::Unsent => Ok(None),
        }
    }

    /// Deletes the key. Returns it if it was not deleted.
    pub(crate) fn delete(self, worker: &mut Worker, account: &Account) -> Outcome<Option<Self>> {
        let request = self.deletion(worker, account);
        let mut was_sent = false;
        for _ in 0..TRIES {
            match worker.ask(&request)? {
                Said::Refused(status, body) if status != 404 || !was_sent => {
                    return Err(lie(&request, "a deletion", &(status, body)));
                }
                Said::Done(_) | Said::Refused(..) => {
                    worker.bury(self.ended(worker, account));
                    return Ok(None);
                }
                Said::Unknown => was_sent = true,
                Said::Unsent => {}
            }
        }
        // Nobody knows whether it is deleted: forgotten.
        Ok((!was_sent).then_some(self))
    }

    /// Returns the key for the time after its deletion, or that of its account.
    pub(crate) fn ended(&self, worker: &Worker, account: &Account) -> Ended {
        Ended::api_key(worker, &self.key, self.deletion(worker, account))
    }

    fn deletion(&self, worker: &Worker, account: &Account) -> Request {
        worker.admin("DELETE", &account.path(&format!("/api-keys/{}", self.id)))
    }

    /// Uses the key: it works if its owner is enabled. It is read from the database at each use.
    pub(crate) fn probe(&self, worker: &mut Worker, account: &Account, replica: Option<usize>) -> Outcome<()> {
        let works = account.state.enabled;
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
