//! Administration as the administrator does it, over HTTP.

use serde_json::Value;

use super::{Answer, Database, PASSWORD, TestServer};

/// A server, and a token of somebody on it.
pub(crate) struct Admin {
    pub(crate) server: TestServer,
    pub(crate) token: String,
}

impl Admin {
    /// The administrator of a new server.
    pub(crate) async fn start(database: Database) -> Self {
        let server = TestServer::start(database).await;
        let token = server.admin().await;
        Self { server, token }
    }

    /// A request with a body in JSON.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as(&self.token, method, path, body).await
    }

    /// The same with somebody else's token.
    pub(crate) async fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.server.request(method, path).bearer(token).json(body).send().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.server.get(path).bearer(&self.token).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.server.request("DELETE", path).bearer(&self.token).send().await
    }

    /// Makes something in a collection; gives its path.
    pub(crate) async fn make_in(&self, collection: &str, body: &Value) -> String {
        let answer = self.ask("POST", collection, body).await;
        answer.json_with(201);
        answer.header("location").to_owned()
    }

    /// Makes a user; gives the path.
    pub(crate) async fn make(&self, body: &Value) -> String {
        self.make_in("/admin/users", body).await
    }

    /// Makes a user with the password [`PASSWORD`] and these roles; gives the path.
    pub(crate) async fn user(&self, username: &str, roles: &[&str]) -> String {
        self.make(&serde_json::json!({"username": username, "password": PASSWORD, "roles": roles})).await
    }

    /// Makes a role, or gives it these scopes.
    pub(crate) async fn role(&self, name: &str, scopes: &[&str]) {
        let body = serde_json::json!({"scopes": scopes});
        let answer = self.ask("PUT", &format!("/admin/roles/{name}"), &body).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
    }

    /// All that there is of users, roles, scopes and clients: what must be the same after a refusal.
    pub(crate) async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for list in ["users", "roles", "scopes", "clients"] {
            all.push(self.get(&format!("/admin/{list}?limit=200")).await.json_with(200));
        }
        all
    }
}
