//! Overload by logins: requests beyond the queue are refused at once, and those of disconnected clients are not hashed.

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle};

use crate::harness::{Answer, Database, Form, PASSWORD, TestServer, eventually, on_both_engines};

on_both_engines!(
    a_full_queue_refuses_logins_at_once,
    known_networks_have_half_of_the_places,
    strangers_that_found_no_place_cost_one_statement,
    logins_that_wait_too_long_are_refused,
    jobs_of_disconnected_clients_are_skipped,
);

/// Starts a server whose only hash thread is busy for some seconds, with the login of a user who has an expensive hash.
/// All other hashes are cheap.
async fn busy(database: Database, flags: &[&str]) -> (TestServer, JoinHandle<Answer>) {
    let server = TestServer::with(database, flags).await;
    let slow = occupy(&server).await;
    (server, slow)
}

/// Keeps the only hash thread of a server busy for some seconds.
pub(crate) async fn occupy(server: &TestServer) -> JoinHandle<Answer> {
    server.create_user("slow", &[]).await;
    let hash = "$argon2id$v=19$m=65536,t=60,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = 'slow'");
    server.database().execute(&change).await.unwrap();
    let hashes = server.app.passwords.hashes_run();
    let slow = tokio::spawn(server.token(&Form::password("slow", PASSWORD)).send());
    eventually("the thread is busy", async || server.app.passwords.hashes_run() == hashes + 1).await;
    slow
}

fn login(server: &TestServer) -> JoinHandle<Answer> {
    tokio::spawn(server.token(&Form::password("nobody", "wrong")).send())
}

async fn waiting(server: &TestServer, jobs: usize) {
    eventually("this many jobs wait", async || server.app.passwords.waiting() == jobs).await;
}

#[track_caller]
fn is_refused(answer: &Answer) {
    answer.oauth_error(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
}

async fn a_full_queue_refuses_logins_at_once(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "4", "--hash-wait", "60s"]).await;
    let hashes = server.app.passwords.hashes_run();
    // Callers whose network is not known to the account have half of the places.
    let fit = [login(&server), login(&server)];
    waiting(&server, 2).await;
    for _ in 0..8 {
        is_refused(&login(&server).await.unwrap());
    }
    // Also with the right password.
    is_refused(&server.token(&Form::admin()).send().await);
    assert!(!slow.is_finished() && server.app.passwords.waiting() == 2, "the refusals did not wait for the thread");
    // The queued requests are answered, and later ones again.
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    for login in fit {
        login.await.unwrap().oauth_error(400, "invalid_grant");
    }
    assert_eq!(server.app.passwords.hashes_run(), hashes + 2);
    server.admin().await;
}

async fn known_networks_have_half_of_the_places(database: Database) {
    let server = TestServer::start(database).await;
    // Known from now on.
    server.admin().await;
    let (server, slow) = busy(server.stop(), &["--hash-queue", "4", "--hash-wait", "60s"]).await;
    let strangers = [login(&server), login(&server)];
    waiting(&server, 2).await;
    is_refused(&login(&server).await.unwrap());
    let known = || tokio::spawn(server.token(&Form::admin()).send());
    let owners = [known(), known()];
    waiting(&server, 4).await;
    is_refused(&known().await.unwrap());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    for owner in owners {
        assert_eq!(owner.await.unwrap().status, 200);
    }
    for stranger in strangers {
        stranger.await.unwrap().oauth_error(400, "invalid_grant");
    }
}

/// A flood of strangers must not reserve and give back attempts in the database all the time.
async fn strangers_that_found_no_place_cost_one_statement(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "4", "--hash-wait", "60s"]).await;
    let fit = [login(&server), login(&server)];
    waiting(&server, 2).await;
    let refused = async |name: &str| {
        let before = server.app.store.statements_run();
        is_refused(&server.token(&Form::password(name, "wrong")).send().await);
        server.app.store.statements_run() - before
    };
    // Client, user, reservation, give-back; then the client alone.
    assert_eq!([refused("maria").await, refused("maria").await, refused("MARIA").await], [4, 1, 1]);
    assert_eq!([refused("slow").await, refused("slow").await], [4, 1]);
    let failures = "SELECT CAST(coalesce(sum(failures), 0) AS BIGINT) FROM throttle WHERE failures > 0";
    let charged = server.database().number(failures).await;
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    for login in fit {
        login.await.unwrap().oauth_error(400, "invalid_grant");
    }
    assert_eq!(server.database().number(failures).await, charged, "refusals are not charged");
    // There are places again: within the same second, it is verified.
    server.token(&Form::password("maria", "wrong")).send().await.oauth_error(400, "invalid_grant");
}

async fn logins_that_wait_too_long_are_refused(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "8", "--hash-wait", "1s"]).await;
    let hashes = server.app.passwords.hashes_run();
    is_refused(&login(&server).await.unwrap());
    assert!(!slow.is_finished());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    waiting(&server, 0).await;
    assert_eq!(server.app.passwords.hashes_run(), hashes, "the job of the refused login is skipped");
    server.admin().await;
}

async fn jobs_of_disconnected_clients_are_skipped(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "8", "--hash-wait", "60s"]).await;
    let hashes = server.app.passwords.hashes_run();
    let body = Form::password("nobody", "wrong").encode();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut gone = TcpStream::connect(server.url().trim_start_matches("http://")).await.unwrap();
    gone.write_all(request.as_bytes()).await.unwrap();
    waiting(&server, 1).await;
    // The client closes the connection.
    drop(gone);
    let last = login(&server);
    waiting(&server, 2).await;
    assert!(!slow.is_finished());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    // The queue is first in, first out: the job of the closed connection would have been hashed before this one.
    last.await.unwrap().oauth_error(400, "invalid_grant");
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1);
}
