//! `grantd serve --demo`: users, clients and scopes in a temporary database.

use std::{fs, path::Path};

use grantd_guard::Guard;
use serde_json::Value;

use crate::{
    harness::{Form, Grantd, MASTER_KEY, grantd},
    token::claims,
};

const DEMO: [&str; 2] = ["serve", "--demo"];

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// The database of the settings, which the demo must not create.
fn database(directory: &Path) -> String {
    format!("sqlite://{}/own/grantd.db", directory.display())
}

async fn token(server: &Grantd, form: &Form) -> String {
    let body: Value = server.request("POST", "/token").form(form).send().await.json_with(200);
    body["access_token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn printed_users_and_clients_get_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().to_str().unwrap();
    // Settings of the user's own server, which are ignored.
    let own = [
        ("TMPDIR", temporary),
        ("GRANTD_MASTER_KEY", "not a key"),
        ("GRANTD_ISSUER", "https://id.example"),
        ("GRANTD_AUDIENCE", "https://api.example"),
        ("GRANTD_APPLY", "missing.toml"),
        ("GRANTD_ADMIN_PASSWORD", "short"),
    ];
    let server = Grantd::with_arguments(&database(directory.path()), &DEMO, &own);
    assert!(server.line_with("Ignored settings").contains("DATABASE_URL"));
    assert!(server.line_with("alice").contains("wonderland"));
    assert!(server.line_with("admin").contains("admin "));
    let clients = ["items-rust", "items-fastapi", "items-express"].map(|id| (id, server.line_with(id)));

    // As the sample services check it: by issuer, audience and scope.
    let alice = token(&server, &Form::password("alice", "wonderland")).await;
    let guard = Guard::from_issuer(server.url()).audience(server.url()).build().unwrap();
    let verified = guard.authenticate(&alice).await.unwrap();
    assert_eq!(verified.scope.to_string(), "account items items:read items:write me");
    assert_eq!(server.request("GET", "/admin/users").bearer(&alice).send().await.status, 403);
    let admin = token(&server, &Form::password("admin", "admin")).await;
    assert_eq!(server.request("GET", "/admin/users").bearer(&admin).send().await.status, 200);

    for (id, line) in &clients {
        let secret = line.split_whitespace().find(|word| word.starts_with("grs_")).unwrap();
        let form = Form::of(&[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)]);
        assert_eq!(claims(&token(&server, &form).await)["scope"], "items items:read items:write me");
    }
    // The password rules apply to other users, and to new passwords of these two.
    let change = serde_json::json!({"current_password": "admin", "new_password": "admin"});
    let refused = server.request("PUT", "/users/me/password").bearer(&admin).json(&change).send().await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    drop(server);
    assert!(!directory.path().join("own").exists());
}

#[actix_web::test]
async fn the_database_is_removed_when_the_server_stops() {
    for signal in ["TERM", "INT"] {
        let directory = tempfile::tempdir().unwrap();
        let variables = [("TMPDIR", directory.path().to_str().unwrap()), ("GRANTD_MASTER_KEY", MASTER_KEY)];
        let mut server = Grantd::with_arguments("postgres://u:secret@127.0.0.1:1/x", &DEMO, &variables);
        assert!(!is_empty(directory.path()));
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        assert!(is_empty(directory.path()), "{signal}");
    }
}

#[actix_web::test]
async fn a_public_address_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("TMPDIR", directory.path().to_str().unwrap()), ("GRANTD_ALLOW_INSECURE", "true")];
    for listen in ["0.0.0.0:0", "[::]:0", "127.0.0.1:0,192.0.2.1:0"] {
        let arguments = [&DEMO[..], &["--listen", listen]].concat();
        for variables in [&variables[..1], &variables] {
            let output = grantd(&database(directory.path()), &arguments, "", variables);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && said.contains("loopback"), "{said}");
            assert!(output.stdout.is_empty() && is_empty(directory.path()));
        }
    }
}
