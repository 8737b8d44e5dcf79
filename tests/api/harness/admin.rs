//! Requests of an administrator, over HTTP.

use serde_json::Value;

use super::{Answer, Database, PASSWORD, TestServer};

/// A server with the token of a caller.
pub(crate) struct Admin {
    pub(crate) server: TestServer,
    pub(crate) token: String,
}

impl Admin {
    /// Starts a server, and logs its administrator in.
    pub(crate) async fn start(database: Database) -> Self {
        let server = TestServer::start(database).await;
        let token = server.admin().await;
        Self { server, token }
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as(&self.token, method, path, body).await
    }

    /// Sends a request with a JSON body and another token.
    pub(crate) async fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.server.request(method, path).bearer(token).json(body).send().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.server.get(path).bearer(&self.token).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.server.request("DELETE", path).bearer(&self.token).send().await
    }

    /// Creates an object in a collection, and returns its path.
    pub(crate) async fn create_in(&self, collection: &str, body: &Value) -> String {
        let answer = self.ask("POST", collection, body).await;
        answer.json_with(201);
        answer.header("location").to_owned()
    }

    /// Creates a user, and returns its path.
    pub(crate) async fn create(&self, body: &Value) -> String {
        self.create_in("/admin/users", body).await
    }

    /// Creates a user with the password [`PASSWORD`] and these roles, and returns its path.
    pub(crate) async fn user(&self, username: &str, roles: &[&str]) -> String {
        self.create(&serde_json::json!({"username": username, "password": PASSWORD, "roles": roles})).await
    }

    /// Creates a role, or replaces its scopes.
    pub(crate) async fn role(&self, name: &str, scopes: &[&str]) {
        let body = serde_json::json!({"scopes": scopes});
        let answer = self.ask("PUT", &format!("/admin/roles/{name}"), &body).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
    }

    /// Returns all users, roles, scopes and clients, which a refused request must not change.
    pub(crate) async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for list in ["users", "roles", "scopes", "clients"] {
            all.push(self.get(&format!("/admin/{list}?limit=200")).await.json_with(200));
        }
        all
    }
}
