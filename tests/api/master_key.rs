//! Servers that still run with the old master key after `grantd keys rewrap`: they verify and administer as before, and issue
//! no tokens once they cannot decrypt the signing key.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::harness::{
    ADMIN_PASSWORD, Admin, Database, Form, MASTER_KEY, PASSWORD, TestServer, eventually, grantd, on_both_engines,
};

on_both_engines!(
    administration_works_after_a_rewrap,
    a_key_retired_after_a_rewrap_is_refused_everywhere,
    no_token_is_issued_without_the_signing_key,
);

const ISSUER: [&str; 2] = ["--issuer", "http://id.example"];
/// 32 bytes of `n`.
pub(crate) const NEW_KEY: &str = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4";

/// Encrypts the keys of the database with [`NEW_KEY`], as an operator does.
pub(crate) fn rewrap(database: &Database) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new.key");
    std::fs::write(&file, NEW_KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["keys", "rewrap", "--new-master-key-file", file.to_str().unwrap()];
    let done = grantd(database.url(), &arguments, "", &[("GRANTD_MASTER_KEY", MASTER_KEY)]);
    assert!(done.status.success(), "{done:?}");
}

/// A server with the old master key, and one that was started with the new one.
struct Two {
    old: Admin,
    new: Admin,
}

impl Two {
    async fn start(database: Database) -> Self {
        let server = TestServer::with(database, &ISSUER).await;
        let token = server.admin().await;
        let old = Admin { server, token };
        rewrap(old.server.database());
        let flags = [&ISSUER[..], &["--master-key", NEW_KEY]].concat();
        let server = TestServer::on(old.server.database().url(), &flags, old.server.clock.clone()).await.unwrap();
        let token = server.admin().await;
        Self { old, new: Admin { server, token } }
    }

    /// Retires the active key on the new server. Returns a token of the next key.
    async fn retire_active_key(&self) -> String {
        let keys = self.new.get("/admin/signing-keys").await.json_with(200);
        let active = keys["items"].as_array().unwrap().iter().find(|key| key["state"] == "active").unwrap();
        let path = format!("/admin/signing-keys/{}", active["kid"].as_str().unwrap());
        assert_eq!(self.new.delete(&path).await.status, 204);
        self.new.server.admin().await
    }

    /// Waits until the old server publishes the keys of the new one.
    async fn agree_on_keys(&self) {
        let expected = published(&self.new.server).await;
        eventually("the other server publishes the same keys", async || published(&self.old.server).await == expected)
            .await;
    }
}

async fn published(server: &TestServer) -> BTreeSet<String> {
    let set = server.get("/.well-known/jwks.json").send().await.json_with(200);
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Checks all kinds of changes except issuing tokens and creating keys.
async fn administers(admin: &Admin, round: &str) {
    let user = admin.user(&format!("maria-{round}"), &[]).await;
    admin.ask("PATCH", &user, &json!({"display_name": "Maria"})).await.json_with(200);
    admin.ask("PATCH", &user, &json!({"disabled": true})).await.json_with(200);
    let id = format!("shop-{round}");
    let client = json!({
        "client_id": id, "name": "Shop", "type": "confidential", "grant_types": ["client_credentials"],
        "scopes": ["account"],
    });
    let created = admin.ask("POST", "/admin/clients", &client).await.json_with(201);
    assert!(created["client_secret"].as_str().is_some_and(|secret| secret.starts_with("grs_")), "{created}");
    admin.ask("PATCH", &format!("/admin/clients/{id}"), &json!({"disabled": true})).await.json_with(200);
    let role = format!("/admin/roles/reader-{round}");
    admin.ask("PUT", &role, &json!({"scopes": ["users:read"]})).await.json_with(201);
    assert_eq!(admin.delete(&role).await.status, 204);
    assert_eq!(admin.delete(&user).await.status, 204);
}

async fn administration_works_after_a_rewrap(database: Database) {
    let two = Two::start(database).await;
    administers(&two.old, "one").await;
    administers(&two.new, "two").await;
    let Two { old, new } = &two;
    assert_eq!(old.server.get("/users/me").bearer(&new.token).send().await.status, 200);
    // Each syncs the revocations of the other.
    new.user("peter", &[]).await;
    let peter = new.server.login("peter", PASSWORD).await;
    assert_eq!(old.server.get("/verify").bearer(&peter).send().await.status, 204);
    let revoke = new.server.request("POST", "/revoke").form(&Form::of(&[("token", &peter)])).send().await;
    assert_eq!(revoke.status, 200);
    eventually("the token is refused", async || old.server.get("/verify").bearer(&peter).send().await.status == 401)
        .await;
    let peter = new.server.login("peter", PASSWORD).await;
    let revoke = old.server.request("POST", "/revoke").form(&Form::of(&[("token", &peter)])).send().await;
    assert_eq!(revoke.status, 200);
    old.server.get("/verify").bearer(&peter).send().await.problem(401, "invalid-token");
}

async fn a_key_retired_after_a_rewrap_is_refused_everywhere(database: Database) {
    let two = Two::start(database).await;
    let Two { old, new } = &two;
    for server in [&old.server, &new.server] {
        assert_eq!(server.get("/verify").bearer(&old.token).send().await.status, 204);
    }
    let next = two.retire_active_key().await;
    new.server.get("/verify").bearer(&old.token).send().await.problem(401, "invalid-token");
    two.agree_on_keys().await;
    for path in ["/verify", "/users/me", "/admin/users"] {
        let answer = old.server.get(path).bearer(&old.token).send().await;
        answer.problem(401, "invalid-token");
    }
    // Its replacement is accepted.
    for path in ["/users/me", "/admin/users"] {
        assert_eq!(old.server.get(path).bearer(&next).send().await.status, 200, "{path}");
    }
}

async fn no_token_is_issued_without_the_signing_key(database: Database) {
    let mut two = Two::start(database).await;
    let login = two.old.server.token(&Form::admin()).send().await.json_with(200);
    let refresh =
        Form::of(&[("grant_type", "refresh_token"), ("refresh_token", login["refresh_token"].as_str().unwrap())]);
    let next = two.retire_active_key().await;
    two.agree_on_keys().await;
    eventually("the server is not ready", async || two.old.server.get("/readyz").send().await.status == 503).await;
    two.old.server.get("/readyz").send().await.problem(503, "unavailable");
    assert_eq!(two.new.server.get("/readyz").send().await.status, 200);
    for form in [Form::admin(), refresh.clone()] {
        let answer = two.old.server.token(&form).send().await;
        answer.oauth_error(503, "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    // The refresh token was not rotated: the other server accepts it.
    let refreshed: Value = two.new.server.token(&refresh).send().await.json_with(200);
    let access = refreshed["access_token"].as_str().unwrap();
    assert_eq!(two.old.server.get("/users/me").bearer(access).send().await.status, 200);
    // Everything else works.
    two.old.token.clone_from(&next);
    two.new.token = next;
    administers(&two.old, "one").await;
    let patched = two.old.ask("PATCH", "/users/me", &json!({"display_name": "Admin"})).await;
    assert_eq!(patched.json_with(200)["display_name"], "Admin");
    // After a restart with the new master key, tokens are issued again.
    let Two { old, new } = two;
    drop(new);
    let database = old.server.stop();
    let server = TestServer::with(database, &[&ISSUER[..], &["--master-key", NEW_KEY]].concat()).await;
    assert_eq!(server.get("/readyz").send().await.status, 200);
    server.login("admin", ADMIN_PASSWORD).await;
}

async fn a_refresh_token_is_not_rotated_if_signing_is_impossible(database: Database) {
    let two = Two::start(database).await;
    let login = two.old.server.token(&Form::admin()).send().await.json_with(200);
    let refresh =
        Form::of(&[("grant_type", "refresh_token"), ("refresh_token", login["refresh_token"].as_str().unwrap())]);
    two.retire_active_key().await;
    two.agree_on_keys().await;
    eventually("the server is not ready", async || two.old.server.get("/readyz").send().await.status == 503).await;
    let logins = "SELECT count(*) FROM audit_events WHERE kind = 'login'";
    let before = two.old.server.database().number(logins).await;
    two.old.server.token(&refresh).send().await.oauth_error(503, "temporarily_unavailable");
    two.old.server.token(&Form::admin()).send().await.oauth_error(503, "temporarily_unavailable");
    assert_eq!(two.old.server.database().number(logins).await, before);
    // After the leeway for retries: a rotated token would now be reported as reused.
    two.old.server.advance(chrono::Duration::seconds(31));
    two.new.server.token(&refresh).send().await.json_with(200);
}
on_both_engines!(a_refresh_token_is_not_rotated_if_signing_is_impossible);
