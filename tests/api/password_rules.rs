//! The rules for new passwords: on each way that a password comes in.

use std::{fmt::Write as _, path::Path};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::{Value, json};

use crate::{
    cli::{failure, json_of},
    harness::{ADMIN_PASSWORD, Answer, Database, Form, Grantd, PASSWORD, TestServer, grantd, on_both_engines},
};

on_both_engines!(
    each_route_refuses_with_the_first_code,
    the_settings_decide_on_length_and_strength,
    words_of_the_blocklist_are_common,
    digests_of_the_blocklist_are_common,
    a_blocklist_that_breaks_accepts_nothing,
    a_weak_password_from_before_is_as_good_as_ever,
    commands_refuse_as_routes_do,
    a_set_up_file_lists_all_refused_passwords,
    a_first_start_with_a_refused_password_makes_nothing,
);

/// Refused for the user of [`body`], with the code. Where several rules are broken, the first one counts.
const REFUSED: [(&str, &str); 13] = [
    // Personal, common and weak as well.
    ("maria", "length"),
    ("1234567", "length"),
    // Common and weak as well.
    ("trustno1", "personal"),
    ("TrustNo1", "personal"),
    ("MJ.office@example.com", "personal"),
    ("mj.OFFICE", "personal"),
    ("m\u{c1}ria of the office", "personal"),
    ("ma\u{301}ria of the office", "personal"),
    ("ID.example", "personal"),
    // Weak as well; also those that are listed and look like a variant of another.
    ("passw0rd", "common"),
    ("PASSWORD1", "common"),
    ("12345678", "common"),
    // A variant that is not listed.
    ("p@$$w0rd", "weak"),
];

fn body(username: &str, password: &str) -> Value {
    json!({
        "username": username, "email": "mj.office@example.com", "display_name": "M\u{e1}ria of the office",
        "password": password,
    })
}

/// The message of the only field that is wrong.
#[track_caller]
fn message(answer: &Answer, field: &str, code: &str) -> String {
    answer.wrong_fields(&[(field, code)]);
    let problem: Value = serde_json::from_str(answer.text()).unwrap();
    problem["errors"][0]["message"].as_str().unwrap().to_owned()
}

async fn each_route_refuses_with_the_first_code(database: Database) {
    let server = TestServer::with(database, &["--issuer", "http://id.example:8080/auth", "--registration=true"]).await;
    let token = server.admin().await;
    let as_admin = async |method: &str, path: &str, body: &Value| {
        server.request(method, path).bearer(&token).json(body).send().await
    };
    let user = as_admin("POST", "/admin/users", &body("trustno1", PASSWORD)).await.json_with(201);
    let path = format!("/admin/users/{}/password", user["id"].as_str().unwrap());
    let own = server.login("trustno1", PASSWORD).await;
    let before = server.database().row_counts().await;
    let too_long = "x ".repeat(513);
    for (password, code) in REFUSED.into_iter().chain([(too_long.as_str(), "length")]) {
        let hashes = server.app.passwords.hashes_run();
        // The name is taken (409), and a role is not there: the fields come first.
        as_admin("POST", "/admin/users", &body("trustno1", password)).await.wrong_fields(&[("password", code)]);
        let registered = server.request("POST", "/users").json(&body("trustno1", password)).send().await;
        registered.wrong_fields(&[("password", code)]);
        as_admin("PUT", &path, &json!({"password": password})).await.wrong_fields(&[("password", code)]);
        assert_eq!(server.app.passwords.hashes_run(), hashes, "no hash of {password}");
        let change = json!({"current_password": PASSWORD, "new_password": password});
        let change = server.request("PUT", "/users/me/password").bearer(&own).json(&change).send().await;
        assert!(!message(&change, "new_password", code).contains(password), "nothing is repeated");
        // That of the current password, unless the new one is too short or too long.
        assert_eq!(server.app.passwords.hashes_run() - hashes, u64::from(code != "length"), "{password}");
    }
    assert_eq!(server.database().row_counts().await, before);
    server.login("trustno1", PASSWORD).await;

    // The rules are about the user's own names, not the caller's; and the message helps.
    let weak = as_admin("PUT", &path, &json!({"password": "p@$$w0rd"})).await;
    let said = message(&weak, "password", "weak");
    assert!(said.contains("must be at least 2") && said.contains("Add another word"), "{said}");
    assert_eq!(as_admin("PUT", &path, &json!({"password": "seven purple staplers"})).await.status, 204);
    let nobody = "/admin/users/019c0000-0000-7000-8000-000000000000/password";
    as_admin("PUT", nobody, &json!({"password": "passw0rd"})).await.problem(404, "not-found");
}

async fn the_settings_decide_on_length_and_strength(database: Database) {
    let server = TestServer::with(database, &["--password-min-length", "5", "--password-min-strength", "0"]).await;
    let token = server.admin().await;
    let create = async |username: &str, password: &str| {
        server
            .request("POST", "/admin/users")
            .bearer(&token)
            .json(&json!({"username": username, "password": password}))
            .send()
            .await
    };
    create("a", "zqzq").await.wrong_fields(&[("password", "length")]);
    assert_eq!(create("a", "zqzqz").await.status, 201);
    assert_eq!(create("b", "p@$$w0rd").await.status, 201);
    // Common ones stay refused.
    create("c", "Passw0rd").await.wrong_fields(&[("password", "common")]);
    create("c", "qwerty").await.wrong_fields(&[("password", "common")]);

    let database = server.stop();
    let server = TestServer::with(database, &["--password-min-length", "12", "--password-min-strength", "4"]).await;
    let token = server.admin().await;
    let create = async |username: &str, password: &str| {
        server
            .request("POST", "/admin/users")
            .bearer(&token)
            .json(&json!({"username": username, "password": password}))
            .send()
            .await
    };
    assert!(message(&create("c", "elevenchars").await, "password", "length").contains("at least 12 characters"));
    create("c", "another password").await.wrong_fields(&[("password", "weak")]);
    assert_eq!(create("c", "correct horse battery staple").await.status, 201);
}

const LEAKED: &str = "Leaked Before 2020";

/// Starts a server with this blocklist, and returns how it answers a new password of the administrator's.
async fn blocked(database: Database, blocklist: &Path) -> (TestServer, impl AsyncFn(&TestServer, &str) -> Answer) {
    let server = TestServer::with(database, &["--password-blocklist", blocklist.to_str().unwrap()]).await;
    let token = server.admin().await;
    let change = async move |server: &TestServer, new: &str| {
        let body = json!({"current_password": ADMIN_PASSWORD, "new_password": new});
        server.request("PUT", "/users/me/password").bearer(&token).json(&body).send().await
    };
    (server, change)
}

async fn words_of_the_blocklist_are_common(database: Database) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blocklist");
    std::fs::write(&file, format!("something else\r\n{LEAKED}\r\n")).unwrap();
    let (server, change) = blocked(database, &file).await;
    change(&server, &LEAKED.to_uppercase()).await.wrong_fields(&[("new_password", "common")]);
    // The list replaces nothing.
    change(&server, "passw0rd").await.wrong_fields(&[("new_password", "common")]);
    assert_eq!(change(&server, &format!("{LEAKED}!")).await.status, 204);
}

fn digests(passwords: &[&str]) -> String {
    let mut lines: Vec<String> = passwords
        .iter()
        .map(|password| {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02X}").unwrap();
                hex
            }) + ":3\r\n"
        })
        .collect();
    lines.sort();
    lines.concat()
}

async fn digests_of_the_blocklist_are_common(database: Database) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pwned");
    let many: Vec<String> = (0..500).map(|nth| format!("password of number {nth}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([LEAKED, "found in lower case"]).collect();
    std::fs::write(&file, digests(&many)).unwrap();
    let (server, change) = blocked(database, &file).await;
    for refused in [LEAKED, "FOUND in lower case", "password of number 0", "password of number 499"] {
        change(&server, refused).await.wrong_fields(&[("new_password", "common")]);
    }
    assert_eq!(change(&server, &LEAKED.to_lowercase()).await.status, 204);
}

async fn a_blocklist_that_breaks_accepts_nothing(database: Database) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pwned");
    std::fs::write(&file, digests(&[LEAKED, "another", "a third"])).unwrap();
    let (server, change) = blocked(database, &file).await;
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1).unwrap();
    let answer = change(&server, "seven purple staplers").await;
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    // Logins do not read it.
    server.admin().await;
    let database = server.stop();

    std::fs::remove_file(&file).unwrap();
    let variables = [("GRANTD_PASSWORD_BLOCKLIST", file.to_str().unwrap()), ("GRANTD_ISSUER", "http://id.example")];
    let why = Grantd::try_start(database.url(), &[], &variables).err().unwrap();
    assert!(why.contains("GRANTD_PASSWORD_BLOCKLIST") && why.contains("cannot be used"), "{why}");
    std::fs::write(&file, format!("{}\n{}\n", "F".repeat(40), "0".repeat(40))).unwrap();
    let why = Grantd::try_start(database.url(), &[], &variables).err().unwrap();
    assert!(why.contains("GRANTD_PASSWORD_BLOCKLIST") && why.contains("not ordered by hash"), "{why}");
}

async fn a_weak_password_from_before_is_as_good_as_ever(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), "maria", &[]).await.unwrap();
    server.login("maria", "maria").await;
    // Also where the hash is replaced: that is no new password.
    let server = TestServer::with(server.stop(), &["--hash-memory", "16KiB"]).await;
    let token = server.login("maria", "maria").await;
    server.login("maria", "maria").await;
    // What becomes personal or has been weak is not looked at when something else changes.
    let patch =
        server.request("PATCH", "/users/me").bearer(&token).json(&json!({"display_name": "maria"})).send().await;
    assert_eq!(patch.status, 200);
    let change = json!({"current_password": "maria", "new_password": "seven purple staplers"});
    assert_eq!(server.request("PUT", "/users/me/password").bearer(&token).json(&change).send().await.status, 204);
    server.token(&Form::password("maria", "maria")).send().await.oauth_error(400, "invalid_grant");
}

async fn commands_refuse_as_routes_do(database: Database) {
    crate::cli::set_up(&database);
    let create = |name| ["user", "create", name, "--email", "mj.office@example.com", "--password-stdin"];
    json_of(&database, &create("trustno1"), PASSWORD);
    let before = database.row_counts().await;
    for (password, why) in [
        ("short", "password: must have at least 8 characters"),
        ("TrustNo1", "password: must not be a name or address"),
        ("MJ.Office", "password: must not be a name or address"),
        ("passw0rd", "password: is one of the most common passwords"),
        ("p@$$w0rd", "password: is easy to guess"),
    ] {
        for command in [&create("trustno1")[..], &["user", "passwd", "trustno1", "--password-stdin"]] {
            let (code, said) = failure(&database, command, &format!("{password}\n"));
            assert!(code == Some(1) && said.contains(why), "{command:?}: {said}");
        }
    }
    assert_eq!(database.row_counts().await, before);
}

async fn a_set_up_file_lists_all_refused_passwords(database: Database) {
    crate::cli::set_up(&database);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.toml");
    let entry =
        |name: &str| format!("[[users]]\nusername = '{name}'\npassword_env = 'PASSWORD_OF_{}'\n", name.to_uppercase());
    std::fs::write(&file, ["trustno1", "fine", "otto"].map(entry).concat()).unwrap();
    let variables =
        [("PASSWORD_OF_TRUSTNO1", "TRUSTNO1"), ("PASSWORD_OF_FINE", PASSWORD), ("PASSWORD_OF_OTTO", "passw0rd")];
    let before = database.row_counts().await;
    for flags in [&[][..], &["--dry-run"]] {
        let output = grantd(database.url(), &[&["apply", file.to_str().unwrap()], flags].concat(), "", &variables);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for line in ["users[0].password_env: must not be a name", "users[2].password_env: is one of the most common"] {
            assert!(said.contains(line), "{said}");
        }
        assert!(!said.contains("users[1]"), "{said}");
    }
    assert_eq!(database.row_counts().await, before);
}

async fn a_first_start_with_a_refused_password_makes_nothing(database: Database) {
    let start = |name: &str, password: &str| {
        let variables = [
            ("GRANTD_ISSUER", "http://id.example"),
            ("GRANTD_ADMIN_USERNAME", name),
            ("GRANTD_ADMIN_PASSWORD", password),
        ];
        Grantd::try_start(database.url(), &[], &variables)
    };
    for (name, password) in [("admin", "short"), ("trustno1", "TRUSTNO1"), ("admin", "passw0rd"), ("admin", "p@$$w0rd")]
    {
        let why = start(name, password).err().unwrap();
        assert!(why.contains("GRANTD_ADMIN_PASSWORD: ") && !why.contains(password), "{why}");
        if database.is_postgres() {
            assert!(database.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await == 0);
        } else {
            let made = |name: &str| database.directory().join(name).exists();
            assert!(!made("grantd.db") && !made("master.key"));
        }
    }
    start("admin", ADMIN_PASSWORD).unwrap().login(ADMIN_PASSWORD).await;
    // Not read any more, and so not refused.
    start("admin", "short").unwrap().login(ADMIN_PASSWORD).await;
}
