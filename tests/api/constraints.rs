//! Violations of each unique constraint: errors have the name of the constraint on both engines.

use std::{collections::BTreeSet, path::Path};

use grantd::{clients, error::Error, store::StoreError};

use crate::harness::{Database, Form, NewClient, PASSWORD, TestServer, on_both_engines, rotate_keys};

on_both_engines!(
    each_violation_has_the_name_of_its_constraint,
    conflicts_name_the_field,
    impossible_rows_are_errors_not_panics,
);

/// Each constraint, and a change that violates it in a database with two users, two clients, a session, an API key, two signing
/// keys, a revocation, an assertion, a seal, a Firebase key and a failed login.
const VIOLATIONS: [(&str, &str); 25] = [
    (
        "api_keys_hash_key",
        "INSERT INTO api_keys (id, user_id, name, hash, scopes, audiences, created_at) \
         SELECT user_id, user_id, name, hash, scopes, audiences, created_at FROM api_keys",
    ),
    (
        "api_keys_pkey",
        "INSERT INTO api_keys (id, user_id, name, hash, scopes, audiences, created_at) \
         SELECT a.id, a.user_id, a.name, u.sealed, a.scopes, a.audiences, a.created_at FROM api_keys a, server_keys u LIMIT 1",
    ),
    ("api_keys_user_id_fkey", "UPDATE api_keys SET user_id = id"),
    ("audit_events_pkey", "INSERT INTO audit_events SELECT * FROM audit_events"),
    ("audit_seals_pkey", "INSERT INTO audit_seals SELECT * FROM audit_seals"),
    ("changes_pkey", "INSERT INTO changes SELECT * FROM changes"),
    ("client_assertions_pkey", "INSERT INTO client_assertions SELECT * FROM client_assertions"),
    ("clients_pkey", "UPDATE clients SET client_id = 'default' WHERE client_id = 'app'"),
    ("firebase_keys_pkey", "INSERT INTO firebase_keys SELECT * FROM firebase_keys"),
    ("revocations_pkey", "INSERT INTO revocations SELECT * FROM revocations"),
    ("roles_pkey", "INSERT INTO roles SELECT * FROM roles"),
    ("scopes_pkey", "UPDATE scopes SET name = 'account' WHERE name = 'users:read'"),
    ("sessions_client_id_fkey", "UPDATE sessions SET client_id = 'nobody'"),
    ("sessions_pkey", "INSERT INTO sessions SELECT * FROM sessions"),
    ("sessions_user_id_fkey", "UPDATE sessions SET user_id = id"),
    ("server_keys_pkey", "INSERT INTO server_keys SELECT * FROM server_keys"),
    (
        "signing_keys_active_key",
        "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_key, state, created_at, not_before, longest_ttl, \
         default_ttl) SELECT 'another', algorithm, public_jwk, private_key, state, created_at, not_before, 1, 1 FROM signing_keys \
         WHERE state = 'active'",
    ),
    (
        "signing_keys_next_key",
        "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_key, state, created_at, not_before, longest_ttl, \
         default_ttl) SELECT 'another', algorithm, public_jwk, private_key, state, created_at, not_before, 1, 1 FROM signing_keys \
         WHERE state = 'next'",
    ),
    (
        "signing_keys_pkey",
        "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_key, state, created_at, not_before, longest_ttl, \
         default_ttl) SELECT kid, algorithm, public_jwk, private_key, 'retired', created_at, not_before, 1, 1 FROM signing_keys",
    ),
    ("throttle_pkey", "INSERT INTO throttle SELECT * FROM throttle"),
    ("user_roles_pkey", "INSERT INTO user_roles SELECT * FROM user_roles"),
    ("user_roles_role_fkey", "INSERT INTO user_roles (user_id, role) SELECT id, 'nobody' FROM users"),
    ("users_email_key", "UPDATE users SET email = 'MARIA@example.com' WHERE username = 'admin'"),
    (
        "users_pkey",
        "INSERT INTO users (id, username, password_hash, disabled, created_at, updated_at) \
         SELECT id, 'another', password_hash, disabled, created_at, updated_at FROM users WHERE username = 'admin'",
    ),
    ("users_username_key", "UPDATE users SET username = 'ADMIN' WHERE username = 'maria'"),
];

async fn set_up(database: Database) -> TestServer {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    server.create_client(NewClient { id: "app", confidential: false, ..NewClient::default() }).await;
    server.admin().await;
    server
        .within(async |app, now| {
            rotate_keys(&app, None, false, &grantd::audit::Origin::system(), now).await.unwrap();
            let (id, by) = ("app".parse().unwrap(), grantd::authority::Authority::system());
            let patch = clients::ClientPatch::disabled(true);
            app.write(async |tx| clients::patch(tx, &id, &patch, &by, now).await).await.unwrap();
        })
        .await;
    let assertion = "INSERT INTO client_assertions SELECT 'app', secret, created_at FROM sessions";
    server.database().execute(assertion).await.unwrap();
    let key = "INSERT INTO api_keys (id, user_id, name, hash, scopes, audiences, created_at) \
               SELECT id, user_id, 'a script', secret, 'account', '', created_at FROM sessions";
    server.database().execute(key).await.unwrap();
    let seal = "INSERT INTO audit_seals (number, last_id) SELECT 0, id FROM users WHERE username = 'maria'";
    server.database().execute(seal).await.unwrap();
    let firebase_key = "INSERT INTO firebase_keys SELECT 'key', secret FROM sessions";
    server.database().execute(firebase_key).await.unwrap();
    server
}

async fn each_violation_has_the_name_of_its_constraint(database: Database) {
    let server = set_up(database).await;
    for (name, change) in VIOLATIONS {
        let error = server.database().execute(change).await.expect_err(name);
        match StoreError::from(error) {
            // SQLite does not name the foreign key.
            StoreError::Constraint(found) if found.ends_with("_fkey") && !server.database().is_postgres() => {
                assert!(name.ends_with("_fkey"), "{name}");
            }
            StoreError::Constraint(found) => assert_eq!(found, name),
            other => panic!("{name} became {other:?}"),
        }
    }
}

/// Each unique constraint of the migrations needs a violation above.
#[test]
fn every_constraint_has_a_violation() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut named = BTreeSet::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let sql = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let words: Vec<&str> = sql.split_whitespace().collect();
        for pair in words.windows(3) {
            let unique = pair[0] == "CONSTRAINT" && ["PRIMARY", "UNIQUE"].contains(&pair[2]);
            if unique || (pair[0] == "UNIQUE" && pair[1] == "INDEX") {
                named.insert(if unique { pair[1] } else { pair[2] }.to_owned());
            }
        }
    }
    let violated: BTreeSet<String> =
        VIOLATIONS.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !name.ends_with("_fkey")).collect();
    assert_eq!(named, violated);
}

async fn conflicts_name_the_field(database: Database) {
    let server = set_up(database).await;
    let before = server.database().row_counts().await;
    let taken = |result: Result<_, Error>| match result {
        Err(Error::Taken { field }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(server.try_create_user("Maria", None, PASSWORD, &[]).await.map(drop)), "username");
    let email = Some("Maria@Example.com");
    assert_eq!(taken(server.try_create_user("other", email, PASSWORD, &[]).await.map(drop)), "email");
    let app = NewClient { id: "app", ..NewClient::default() };
    assert_eq!(taken(server.try_create_client(app).await.map(drop)), "client_id");
    // Unknown names are reported by field.
    let unknown = |result: Result<_, Error>| match result {
        Err(Error::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(unknown(server.try_create_user("other", None, PASSWORD, &["nobody"]).await.map(drop)), ["roles"]);
    let other = NewClient { id: "other", scopes: "account nothing nowhere", ..NewClient::default() };
    assert_eq!(unknown(server.try_create_client(other).await.map(drop)), ["scopes", "scopes"]);
    assert_eq!(server.database().row_counts().await, before);

    // Of concurrent requests for one username, one succeeds.
    let mut attempts = tokio::task::JoinSet::new();
    let server = std::sync::Arc::new(server);
    for _ in 0..8 {
        let server = std::sync::Arc::clone(&server);
        attempts.spawn(async move { server.try_create_user("wanted", None, PASSWORD, &[]).await.map(drop) });
    }
    let results = attempts.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Taken { field: "username" }))),
        "{results:?}"
    );
}

async fn impossible_rows_are_errors_not_panics(database: Database) {
    let server = set_up(database).await;
    let (maria, admin) = (server.login("maria", PASSWORD).await, server.admin().await);
    let me = async |token: &str| server.get("/users/me").bearer(token).send().await;
    for (change, back) in [
        (
            "UPDATE users SET username = 'no name' WHERE username = 'maria'",
            "UPDATE users SET username = 'maria' WHERE username = 'no name'",
        ),
        (
            "UPDATE users SET email = 'nobody' WHERE username = 'maria'",
            "UPDATE users SET email = NULL WHERE username = 'maria'",
        ),
    ] {
        assert_eq!(server.database().execute(change).await.unwrap(), 1);
        me(&maria).await.problem(500, "internal");
        // Also if a batch reads it together with a valid row.
        let (bad, good) = tokio::join!(me(&maria), me(&admin));
        assert_eq!((bad.status, good.status), (500, 200));
        server.database().execute(back).await.unwrap();
        assert_eq!(me(&maria).await.status, 200);
    }
    for change in ["UPDATE users SET password_hash = 'x'", "UPDATE clients SET grant_types = 'nothing'"] {
        server.database().execute(change).await.unwrap();
        let answer = server.token(&Form::admin()).send().await;
        let body = answer.oauth_error(500, "server_error");
        let id = answer.header("x-request-id");
        assert!(body["error_description"].as_str().unwrap().contains(id), "it has the request id: {body}");
    }
}
