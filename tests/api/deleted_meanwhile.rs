//! Logins and refreshes whose client or user is deleted concurrently: refused as if it had never existed.

use serde_json::Value;

use crate::harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines};

on_both_engines!(a_login_is_refused, a_refresh_is_refused);

fn maria() -> Form {
    Form::password("maria", PASSWORD)
}

fn refresh(token: &str) -> Form {
    Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

fn refresh_token(body: &Value) -> String {
    body["refresh_token"].as_str().unwrap().to_owned()
}

async fn set_up(database: Database) -> TestServer {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    server.create_client(NewClient { id: "app", confidential: false, ..NewClient::default() }).await;
    server
}

/// Deletes a row during each login, by a trigger, as another server might.
async fn delete_at_login(database: &Database, what: &str) {
    if database.is_postgres() {
        let function = "CREATE OR REPLACE FUNCTION race() RETURNS trigger LANGUAGE plpgsql AS";
        database.execute(&format!("{function} $$ BEGIN DELETE FROM {what}; RETURN NULL; END $$")).await.unwrap();
        let trigger = "CREATE TRIGGER race AFTER UPDATE OF last_login_at ON users FOR EACH ROW EXECUTE FUNCTION race()";
        database.execute(trigger).await.unwrap();
    } else {
        let trigger = "CREATE TRIGGER race AFTER UPDATE OF last_login_at ON users";
        database.execute(&format!("{trigger} BEGIN DELETE FROM {what}; END")).await.unwrap();
    }
}

async fn a_login_is_refused(database: Database) {
    let server = set_up(database).await;
    let database = server.database();
    let before = database.row_counts().await;
    for what in ["clients WHERE client_id = 'app'", "users WHERE id = NEW.id"] {
        delete_at_login(database, what).await;
        let refused = server.token(&maria().and("client_id", "app")).send().await;
        refused.oauth_error(400, "invalid_grant");
        // Everything was rolled back, including the deletion, and the login is recorded as failed.
        assert_eq!(database.row_counts().await, before, "{what}");
        let on_users = if database.is_postgres() { " ON users" } else { "" };
        database.execute(&format!("DROP TRIGGER race{on_users}")).await.unwrap();
    }
    assert_eq!(database.number("SELECT count(*) FROM users WHERE last_login_at IS NOT NULL").await, 0);
    let noted = "SELECT count(*) FROM audit_events WHERE kind = 'login.failed' AND details LIKE '%changed_meanwhile%'";
    assert_eq!(database.number(noted).await, 2);
    server.token(&maria().and("client_id", "app")).send().await.json_with(200);
}

async fn a_refresh_is_refused(database: Database) {
    let server = set_up(database).await;
    let of_app = refresh_token(&server.token(&maria().and("client_id", "app")).send().await.json_with(200));
    let of_default = refresh_token(&server.token(&maria()).send().await.json_with(200));
    // Directly in the database, so that the server's caches still have them.
    server.database().execute("DELETE FROM clients WHERE client_id = 'app'").await.unwrap();
    let form = refresh(&of_app).and("client_id", "app");
    server.token(&form).send().await.oauth_error(401, "invalid_client");
    server.database().execute("DELETE FROM users WHERE username = 'maria'").await.unwrap();
    server.token(&refresh(&of_default)).send().await.oauth_error(400, "invalid_grant");
}
