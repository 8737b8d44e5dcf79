//! The first start on an empty database, and later starts.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::{ADMIN_PASSWORD, Database, Form, Grantd, MASTER_KEY, TestServer, grantd, on_both_engines};

on_both_engines!(
    the_first_start_creates_the_built_in_objects,
    later_starts_create_nothing,
    concurrent_first_starts_create_one_of_each,
);

/// The number of rows after a first start.
const CREATED: [(&str, i64); 7] = [
    ("clients", 1),
    ("roles", 2),
    ("scopes", 11),
    ("sessions", 0),
    ("signing_keys", 1),
    ("user_roles", 2),
    ("users", 1),
];

async fn the_first_start_creates_the_built_in_objects(database: Database) {
    let server = TestServer::start(database).await;
    assert_eq!(server.database().row_counts().await, CREATED);
    let metadata = server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    let names: Vec<_> = grantd::roles::BUILT_IN_SCOPES.iter().map(|(name, _)| *name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(metadata["scopes_supported"], json!(sorted));
    let me = server.get("/users/me").bearer(&server.admin().await).send().await.json_with(200);
    assert_eq!((&me["username"], &me["roles"]), (&json!("admin"), &json!(["admin", "member"])));
}

async fn later_starts_create_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let before = server.database().row_counts().await;
    let database = server.stop();
    let other = ["--admin-username", "somebody", "--admin-password", "another password"];
    let server = TestServer::with(database, &other).await;
    assert_eq!(server.database().row_counts().await, before);
    server.token(&Form::password("somebody", "another password")).send().await.oauth_error(400, "invalid_grant");
    server.login("admin", ADMIN_PASSWORD).await;
}

async fn concurrent_first_starts_create_one_of_each(database: Database) {
    // As processes, which on SQLite also race for the key file. Only one server can use a SQLite file, so the others are
    // commands there, which open the database as a server does.
    let variables = [("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD), ("GRANTD_ISSUER", "http://id.example")];
    let start = || Grantd::start(database.url(), &variables);
    let migrate = || {
        let output = grantd(database.url(), &["migrate"], "", &variables);
        assert!(output.status.success(), "{output:?}");
    };
    let (servers, commands) = if database.is_postgres() { (4, 0) } else { (1, 3) };
    let servers: Vec<Grantd> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..servers).map(|_| scope.spawn(start)).collect();
        let commands: Vec<_> = (0..commands).map(|_| scope.spawn(migrate)).collect();
        for command in commands {
            command.join().unwrap();
        }
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(database.row_counts().await, CREATED);
    // Each accepts the tokens of the others.
    for issuing in &servers {
        let token = issuing.login(ADMIN_PASSWORD).await;
        for server in &servers {
            assert_eq!(server.request("GET", "/users/me").bearer(&token).send().await.status, 200);
        }
    }
}

#[actix_web::test]
async fn migrate_prints_the_generated_password_once() {
    let database = Database::sqlite();
    let migrate = || {
        let output = grantd(database.url(), &["migrate"], "", &[]);
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // On standard error, so that standard output has only the output of the command.
    let (printed, said) = migrate();
    assert!(!printed.contains("password"), "{printed}");
    let line = said.lines().find(|line| line.contains("password: ")).unwrap();
    let files = ["grantd.db", "master.key"].map(|name| database.directory().join(name).display().to_string());
    assert!(
        said.starts_with(&format!("Created the database {} and the master key {}.\n", files[0], files[1])),
        "{said}"
    );
    assert!(said.ends_with("Start the server: grantd\n") && !said.contains("curl"), "{said}");
    let (printed, again) = migrate();
    assert!(!printed.contains("password") && again.is_empty(), "{printed}{again}");
    Grantd::start(database.url(), &[]).login(password(line)).await;
}

/// Returns the text after `password: ` in a line.
fn password(line: &str) -> &str {
    line.split_once("password: ").unwrap().1.split(' ').next().unwrap()
}

#[actix_web::test]
async fn the_password_is_generated_and_printed_once() {
    let database = Database::sqlite();
    // The directory is created, readable only by its owner.
    let directory = database.directory().join("deep/data");
    let url = format!("sqlite://{}/grantd.db", directory.display());
    let mut server = Grantd::start(&url, &[("GRANTD_LOG", "trace")]);
    server.line_with(&format!("and the master key {}.", directory.join("master.key").display()));
    server.line_with("Back up the master key");
    assert_eq!(server.line_with("user: ").trim(), "user: admin");
    let printed = server.line_with("password: ");
    let password = password(&printed);
    assert!(password.len() >= 22 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{password}");
    let get = format!("grantd token get --url {} --username admin", server.url());
    assert_eq!(server.line_with(&get).trim(), get);
    assert_eq!(server.line_with("curl ").trim(), format!("curl {}/users/me -H \"$({get} --header)\"", server.url()));
    assert!(server.line_with("'password=PASSWORD'").trim().starts_with("curl "));
    server.line_with("/docs");
    let token = server.login(password).await;
    assert_eq!(server.request("GET", "/users/me").bearer(&token).send().await.status, 200);
    server.signal("TERM");
    server.wait();
    let (rest, log) = server.kill();
    let (head, payload) = (token.split('.').next().unwrap(), token.split('.').nth(1).unwrap());
    for secret in [password, head, payload, "$argon2id$"] {
        assert!(!rest.contains(secret) && !log.contains(secret), "the log has a secret: {secret}");
    }
    assert!(log.contains("/token"), "{log}");

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("master.key")), 0o600);
    assert_eq!(mode(&directory.join("grantd.db")), 0o600);

    let server = Grantd::start(&url, &[]);
    server.login(password).await;
    let (rest, log) = server.kill();
    assert!(!rest.contains("password") && !log.contains("password"), "{rest}{log}");
}

#[actix_web::test]
async fn the_first_start_on_postgres_tells_how_to_create_an_administrator() {
    let Some(database) = Database::postgres().await else { return };
    let server = Grantd::start(database.url(), &[]);
    server.line_with("grantd user create admin --role admin");
    server.kill();
    let admin = ["user", "create", "admin", "--role", "admin", "--password-stdin"];
    let created = grantd(database.url(), &admin, ADMIN_PASSWORD, &[]);
    assert!(created.status.success(), "{created:?}");
    let server = Grantd::start(database.url(), &[]);
    server.login(ADMIN_PASSWORD).await;
}

#[actix_web::test]
async fn a_given_password_is_not_printed() {
    let database = Database::sqlite();
    let variables = [
        ("GRANTD_ADMIN_USERNAME", "root"),
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("GRANTD_MASTER_KEY", MASTER_KEY),
    ];
    let server = Grantd::start(database.url(), &variables);
    assert_eq!(server.line_with("user: ").trim(), "user: root");
    let answer = server.request("POST", "/token").form(&Form::password("root", ADMIN_PASSWORD)).send().await;
    assert_eq!(answer.status, 200);
    let (rest, log) = server.kill();
    for secret in [ADMIN_PASSWORD, MASTER_KEY] {
        assert!(!rest.contains(secret) && !log.contains(secret), "{rest}{log}");
    }
    // A given key is not written to a file.
    assert!(!database.directory().join("master.key").exists());
}
