//! A database that is restored from a backup under running servers: its revocations have other marks, so everything is read
//! again, whatever the numbers are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    harness::{Admin, Database, NewClient, PASSWORD, Transaction, eventually, on_both_engines},
    token::claims,
};

on_both_engines!(revocations_of_another_history_are_read, clients_and_keys_of_another_history_are_read);

/// Replaces the revocations after `base` by revocations of these sessions, as if a backup had been restored and another server
/// had revoked them. In one transaction: the server reads either the old head or the new one.
async fn restore(database: &Database, base: i64, mark: &str, sessions: &[String]) {
    let mut restored = Transaction::begin(database).await;
    restored.run(&format!("DELETE FROM revocations WHERE number > {base}")).await;
    let mut head = base;
    for session in sessions {
        head += 1;
        // Any times, such as those of a session.
        let item = format!(
            "INSERT INTO revocations (number, mark, kind, id, revoked_at, expires_at) \
             SELECT {head}, '{mark}{head}', 'session', '{session}', created_at, expires_at FROM sessions LIMIT 1"
        );
        restored.run(&item).await;
    }
    restored.run(&format!("UPDATE changes SET revocations = {head}, revocation_mark = '{mark}{head}'")).await;
    restored.commit().await;
}

async fn head(database: &Database) -> i64 {
    database.number("SELECT revocations FROM changes").await
}

async fn logins(admin: &Admin, count: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(admin.server.login("maria", PASSWORD).await);
    }
    tokens
}

fn sid(token: &str) -> String {
    claims(token)["sid"].as_str().unwrap().to_owned()
}

/// Revokes a session on this server.
async fn revoke(admin: &Admin, token: &str) {
    let form = crate::harness::Form::of(&[("token", token)]);
    assert_eq!(admin.server.request("POST", "/revoke").form(&form).send().await.status, 200);
}

async fn revocations_of_another_history_are_read(database: Database) {
    let admin = Admin::start(database).await;
    let database = admin.server.database();
    admin.user("maria", &[]).await;
    for token in logins(&admin, 2).await {
        revoke(&admin, &token).await;
    }
    // Two revocations are lost; fewer, as many and more follow.
    for (round, made) in [1, 2, 3, 6].into_iter().enumerate() {
        let base = head(database).await;
        for token in logins(&admin, 2).await {
            revoke(&admin, &token).await;
        }
        let tokens = logins(&admin, made).await;
        let (sessions, kept): (Vec<_>, _) = (tokens.iter().map(|token| sid(token)).collect(), logins(&admin, 1).await);
        restore(database, base, &format!("round{round}x"), &sessions).await;
        for (number, token) in tokens.iter().enumerate() {
            eventually(&format!("revocation {number} of {made} is synced"), async || {
                admin.server.get("/verify").bearer(token).send().await.status == 401
            })
            .await;
        }
        assert_eq!(admin.server.get("/verify").bearer(&kept[0]).send().await.status, 204);
    }
}

/// The tables that are restored as a whole.
const RESTORED: [&str; 3] = ["changes", "revocations", "signing_keys"];

/// Saves a copy of the tables.
async fn save(database: &Database, name: &str) {
    for table in RESTORED.into_iter().chain(["clients"]) {
        database.execute(&format!("CREATE TABLE {name}_{table} AS SELECT * FROM {table}")).await.unwrap();
    }
}

/// Restores a copy, in one transaction.
async fn switch_to(database: &Database, name: &str) {
    let mut restored = Transaction::begin(database).await;
    for table in RESTORED {
        restored.run(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {name}_{table}")).await;
    }
    // Sessions reference clients, so the clients stay, and get the scopes of the copy.
    let scopes = format!(
        "UPDATE clients SET scopes = (SELECT c.scopes FROM {name}_clients c WHERE c.client_id = clients.client_id)"
    );
    restored.run(&scopes).await;
    restored.commit().await;
}

/// Two histories diverge after a backup: each has one change of a client, of the keys and of the revocations.
async fn clients_and_keys_of_another_history_are_read(database: Database) {
    let admin = Admin::start(database).await;
    let (server, database) = (&admin.server, admin.server.database());
    admin.user("maria", &[]).await;
    let scopes = "roles:read users:read";
    let machine = NewClient { id: "machine", grants: &["client_credentials"], scopes, ..NewClient::default() };
    let secret = server.create_client(machine).await;
    let machine = server.machine("machine", &secret, scopes).await;
    let reads = async || server.get("/admin/users").bearer(&machine).send().await.status;
    let keys = async || {
        let set = server.get("/.well-known/jwks.json").send().await.json_with(200);
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].to_string()).collect::<BTreeSet<_>>()
    };
    let change = async |body: Value| {
        admin.ask("PATCH", "/admin/clients/machine", &body).await.json_with(200);
        admin.ask("POST", "/admin/signing-keys", &json!({})).await.json_with(201);
        let token = server.login("maria", PASSWORD).await;
        revoke(&admin, &token).await;
        token
    };
    let first_keys = keys().await;
    save(database, "backup").await;
    assert_eq!((reads().await, first_keys.len()), (200, 1));

    let revoked = change(json!({"scopes": ["roles:read"]})).await;
    let other_keys = keys().await;
    save(database, "other").await;
    assert_eq!((reads().await, other_keys.len()), (403, 2));
    switch_to(database, "backup").await;
    eventually("the backup is read", async || reads().await == 200 && keys().await == first_keys).await;

    change(json!({"name": "Another name"})).await;
    assert_eq!((reads().await, keys().await.len()), (200, 2));
    switch_to(database, "other").await;
    eventually("the revocation is read again", async || {
        server.get("/verify").bearer(&revoked).send().await.status == 401
    })
    .await;
    eventually("the client is read again", async || reads().await == 403).await;
    eventually("the keys are read again", async || keys().await == other_keys).await;
}
