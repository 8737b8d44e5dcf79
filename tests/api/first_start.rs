//! The first start of an empty database, and every start after it.

use secrecy::ExposeSecret as _;

use crate::harness::{Database, Form, Grantd, TestServer, grantd, on_both_engines};

on_both_engines!(a_first_start_makes_what_is_needed, many_servers_start_at_once);

async fn a_first_start_makes_what_is_needed(database: Database) {
    let server = TestServer::start(database).await;
    let count = async |sql: &str| server.database().number(sql).await;
    assert_eq!(count("SELECT count(*) FROM scopes").await, 11);
    assert_eq!(count("SELECT count(*) FROM roles").await, 2);
    assert_eq!(count("SELECT count(*) FROM users").await, 1);
    assert_eq!(count("SELECT count(*) FROM signing_keys WHERE state = 'active'").await, 1);
    let grants = server.database().text("SELECT grant_types FROM clients WHERE client_id = 'default'").await;
    assert_eq!(grants, "password refresh_token");
    server.admin().await;

    let before = server.database().row_counts().await;
    let server = TestServer::with(server.stop(), &["--admin-password", "another password"]).await;
    assert_eq!(server.database().row_counts().await, before);
    server.admin().await;
}

async fn many_servers_start_at_once(database: Database) {
    let variables = [("GRANTD_ADMIN_PASSWORD", "correct horse"), ("GRANTD_ISSUER", "https://id.example")];
    let url = database.url().to_owned();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || Grantd::start(&url, &variables))
        })
        .collect();
    let servers: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    assert_eq!(database.number("SELECT count(*) FROM users").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM signing_keys").await, 1);
    // A token of one is good at the others.
    let form = Form::password("admin", "correct horse");
    let token = servers[0].request("POST", "/token").form(&form).send().await.json_with(200);
    let token = token["access_token"].as_str().unwrap();
    for server in &servers {
        server.request("GET", "/users/me").bearer(token).send().await.json_with(200);
    }
}

#[actix_web::test]
async fn a_generated_password_is_printed_once_and_works() {
    let database = Database::sqlite();
    let first = grantd(database.url(), &["migrate"], "", &[]);
    assert!(first.status.success());
    let said = String::from_utf8(first.stderr).unwrap();
    let password = said.split("password: ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert_eq!(password.len(), 24);
    let second = grantd(database.url(), &["migrate"], "", &[]);
    assert!(second.status.success() && !String::from_utf8_lossy(&second.stderr).contains("password"));

    let server = Grantd::start(database.url(), &[]);
    server.login(password).await;
    let (said, log) = server.kill();
    assert!(!said.contains("password") && !log.contains("password"), "{said}{log}");
    let key = database.directory().join("master.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[actix_web::test]
async fn a_first_start_in_this_process_tells_what_it_made() {
    let database = Database::sqlite();
    let flags = ["--database-url", database.url(), "--listen", "127.0.0.1:0", "--hash-memory", "8KiB"];
    let config = grantd::config::Config::from_flags(flags).unwrap();
    let server = grantd::server::Server::start(config, grantd::clock::Clock::system()).await.unwrap();
    let first = server.first_start().unwrap();
    assert!(first.admin_made && first.admin_username.as_str() == "admin");
    assert_eq!(first.admin_password.as_ref().unwrap().expose_secret().len(), 24);
}
