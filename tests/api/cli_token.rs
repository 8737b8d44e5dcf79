//! `grantd token get` and `grantd token logout`: clients of a running server, without a database.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{ADMIN_PASSWORD, Database, GRANTD, TestServer, grantd};

/// A user of the machine, with a home directory and a server's URL.
struct Person {
    home: TempDir,
    url: String,
}

impl Person {
    fn at(url: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), url: url.to_owned() }
    }

    /// The database that a command would create if it used one.
    fn database(&self) -> PathBuf {
        self.home.path().join("data/grantd.db")
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let database = format!("sqlite://{}", self.database().display());
        let home = self.home.path().to_str().unwrap();
        grantd(&database, &[&["token"], arguments, &["--url", &self.url]].concat(), input, &[("HOME", home)])
    }

    /// Runs a command, which must succeed. Returns its output.
    #[track_caller]
    fn done(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        assert!(!self.database().exists());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs a command, which must fail. Returns its exit code and standard error.
    #[track_caller]
    fn refused(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let output = self.run(arguments, input);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn log_in(&self) -> String {
        self.done(&LOGIN, ADMIN_PASSWORD)
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join(".cache/grantd")
    }

    /// The cached sessions.
    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.cache()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }
}

const LOGIN: [&str; 4] = ["get", "--username", "admin", "--password-stdin"];
/// Without a password: from the cache or by a refresh.
const AGAIN: [&str; 3] = ["get", "--username", "admin"];
/// Access tokens that are too short-lived to be printed from the cache.
const SHORT: [&str; 2] = ["--access-token-ttl", "20s"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn status(server: &TestServer, token: &str) -> u16 {
    server.get("/users/me").bearer(token).send().await.status
}

#[actix_web::test]
async fn tokens_are_printed_and_cached_with_private_permissions() {
    let server = TestServer::start(Database::sqlite()).await;
    let person = Person::at(server.url());
    let token = person.done(&LOGIN, &format!("{ADMIN_PASSWORD}\n"));
    assert_eq!(status(&server, &token).await, 200);
    assert_eq!(mode(&person.cache()), 0o700);
    for file in fs::read_dir(person.cache()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }

    let scoped = person.done(&[&LOGIN[..], &["--scope", "users:read account"]].concat(), ADMIN_PASSWORD);
    let claims = crate::token::claims(&scoped);
    assert_eq!(claims["scope"], "account users:read");
    assert_eq!(person.entries().len(), 2);

    // From the cache, without a server.
    drop(server);
    assert_eq!(person.done(&AGAIN, ""), token);
    assert_eq!(person.done(&["get", "--username", "admin", "--header"], ""), format!("Authorization: Bearer {token}"));
    let json: Value = serde_json::from_str(&person.done(&["get", "--username", "admin", "--json"], "")).unwrap();
    assert_eq!(json["access_token"], token);
}

#[actix_web::test]
async fn concurrent_processes_refresh_one_session_until_it_ends() {
    let server = TestServer::with(Database::sqlite(), &SHORT).await;
    let person = Person::at(server.url());
    let first = person.log_in();
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let processes: Vec<_> = (0..4).map(|_| scope.spawn(|| person.done(&AGAIN, ""))).collect();
        processes.into_iter().map(|process| process.join().unwrap()).collect()
    });
    for token in &tokens {
        assert_ne!(*token, first);
        assert_eq!(status(&server, token).await, 200);
    }
    // One session, and each refresh token was sent once.
    assert_eq!(server.database().number("SELECT count(*) FROM sessions").await, 1);
    assert_eq!(server.database().number("SELECT sum(counter) FROM sessions").await, 4);

    // The session was ended elsewhere: the password is needed.
    server.request("POST", "/revoke").form(&crate::harness::Form::of(&[("token", &tokens[0])])).send().await;
    let (code, said) = person.refused(&AGAIN, "");
    assert!(code == 2 && said.contains("--password-stdin"), "{said}");
    assert_eq!(person.entries(), Vec::<PathBuf>::new());
    let token = person.log_in();
    assert_eq!(status(&server, &token).await, 200);
}

#[actix_web::test]
async fn the_default_url_comes_from_the_settings() {
    let server = TestServer::start(Database::sqlite()).await;
    let person = Person::at(server.url());
    let home = person.home.path().to_str().unwrap();
    let listen = server.url().trim_start_matches("http://");
    for setting in [("GRANTD_LISTEN", listen), ("GRANTD_ISSUER", server.url())] {
        let database = format!("sqlite://{}", person.database().display());
        let arguments = [&["token"], &LOGIN[..]].concat();
        let output = grantd(&database, &arguments, ADMIN_PASSWORD, &[("HOME", home), setting]);
        assert!(output.status.success(), "{setting:?}: {output:?}");
    }
}

#[actix_web::test]
async fn logout_ends_the_session_and_removes_it_from_the_cache() {
    let server = TestServer::start(Database::sqlite()).await;
    let person = Person::at(server.url());
    let token = person.log_in();
    // A new login ends the cached session; a wrong password does not.
    let before = token;
    assert_eq!(person.log_in(), before);
    let (_, said) = person.refused(&[&LOGIN[..], &["--login"]].concat(), "not the password");
    assert!(said.contains("invalid_grant") && said.contains("grantd user passwd NAME"), "{said}");
    assert_eq!((status(&server, &before).await, person.log_in()), (200, before.clone()));
    let token = person.done(&[&LOGIN[..], &["--login"]].concat(), ADMIN_PASSWORD);
    assert_eq!((status(&server, &before).await, status(&server, &token).await), (401, 200));

    assert!(person.done(&["logout", "--username", "maria"], "").starts_with("No session"));
    assert_eq!(status(&server, &token).await, 200);
    let said = person.done(&["logout", "--username", "admin"], "");
    assert!(said.contains("admin") && said.contains(server.url()), "{said}");
    assert_eq!(status(&server, &token).await, 401);
    assert_eq!(person.entries(), Vec::<PathBuf>::new());
    assert_eq!(person.refused(&AGAIN, "").0, 2);
}

#[actix_web::test]
async fn other_processes_do_not_wait_for_a_password_to_be_entered() {
    let server = TestServer::start(Database::sqlite()).await;
    let person = Person::at(server.url());
    let mut asking = Command::new(GRANTD)
        .env_clear()
        .env("HOME", person.home.path())
        .current_dir(person.home.path())
        .args([&["token"], &LOGIN[..], &["--url", &person.url]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let token = person.log_in();
    // It may have found the session already, and be gone.
    let _ = asking.stdin.take().unwrap().write_all(ADMIN_PASSWORD.as_bytes());
    let output = asking.wait_with_output().unwrap();
    // It uses the session of the process that was faster.
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), token);
    assert_eq!(server.database().number("SELECT count(*) FROM sessions").await, 1);
}

#[test]
fn a_response_without_an_end_is_no_response_of_grantd() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let person = Person::at(&format!("http://{}", listener.local_addr().unwrap()));
    let endless = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n").unwrap();
        // Until the other side closes the connection.
        while stream.write_all(&[b' '; 4096]).is_ok() {}
    });
    let (code, said) = person.refused(&LOGIN, ADMIN_PASSWORD);
    assert!(code == 1 && said.contains("is not a grantd server (200); check --url"), "{said}");
    endless.join().unwrap();
}

#[actix_web::test]
async fn errors_say_what_to_do() {
    let server = TestServer::start(Database::sqlite()).await;
    let person = Person::at(server.url());
    let (code, said) = person.refused(&LOGIN, "wrong password");
    assert!(code == 1 && said.contains("invalid_grant: ") && !said.contains("wrong password\n"), "{said}");
    let (_, said) = person.refused(&[&LOGIN[..], &["--client-id", "nobody"]].concat(), ADMIN_PASSWORD);
    assert!(said.contains("invalid_client: ") && said.contains("--client-id"), "{said}");
    assert_eq!(person.entries(), Vec::<PathBuf>::new());
    let (code, said) = person.refused(&["get", "--password-stdin"], "");
    assert!(code == 2 && said.contains("--username"), "{said}");

    let away = Person::at("http://127.0.0.1:1");
    let (code, said) = away.refused(&LOGIN, ADMIN_PASSWORD);
    assert!(code == 1 && said.contains(&away.url) && said.contains("grantd serve"), "{said}");
    let without_tls = Person::at(&server.url().replace("http://", "https://"));
    let (code, said) = without_tls.refused(&LOGIN, ADMIN_PASSWORD);
    assert!(code == 1 && said.contains("does not speak TLS; try http://") && said.contains(&without_tls.url), "{said}");
    let plain = Person::at("http://192.0.2.1:8080");
    let (code, said) = plain.refused(&LOGIN, ADMIN_PASSWORD);
    assert!(code == 1 && said.contains("https"), "{said}");
    // A URL that is not an issuer.
    let other = Person::at(&format!("{}/users", server.url()));
    let (code, said) = other.refused(&LOGIN, ADMIN_PASSWORD);
    assert!(code == 1 && said.contains(&other.url), "{said}");
}
