//! A flood of logins: what does not fit into the queue is refused at once, and who goes away is not hashed for.

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle};

use crate::harness::{Answer, Database, Form, PASSWORD, TestServer, eventually, on_both_engines};

on_both_engines!(
    a_full_queue_is_answered_at_once,
    a_wait_that_is_too_long_is_answered,
    a_client_that_goes_away_takes_its_job_with_it,
);

/// A server whose one thread is busy for some seconds: with the login of a user whose hash is an expensive one. All
/// others are as cheap as ever.
async fn busy(database: Database, flags: &[&str]) -> (TestServer, JoinHandle<Answer>) {
    let server = TestServer::with(database, flags).await;
    server.create_user("slow", &[]).await;
    let hash = "$argon2id$v=19$m=65536,t=60,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = 'slow'");
    server.database().execute(&change).await.unwrap();
    let hashes = server.app.passwords.hashes_run();
    let slow = tokio::spawn(server.token(&Form::password("slow", PASSWORD)).send());
    eventually("the thread is busy", async || server.app.passwords.hashes_run() == hashes + 1).await;
    (server, slow)
}

fn login(server: &TestServer) -> JoinHandle<Answer> {
    tokio::spawn(server.token(&Form::password("nobody", "wrong")).send())
}

async fn waiting(server: &TestServer, jobs: usize) {
    eventually("as many jobs wait", async || server.app.passwords.waiting() == jobs).await;
}

#[track_caller]
fn is_refused(answer: &Answer) {
    answer.oauth_error(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
}

async fn a_full_queue_is_answered_at_once(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "2", "--hash-wait", "60s"]).await;
    let hashes = server.app.passwords.hashes_run();
    let fit = [login(&server), login(&server)];
    waiting(&server, 2).await;
    for _ in 0..8 {
        is_refused(&login(&server).await.unwrap());
    }
    // The right password changes nothing about that.
    is_refused(&server.token(&Form::admin()).send().await);
    assert!(!slow.is_finished() && server.app.passwords.waiting() == 2, "nobody had to wait for the thread");
    // Those that were there first are served, and then everybody is.
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    for login in fit {
        login.await.unwrap().oauth_error(400, "invalid_grant");
    }
    assert_eq!(server.app.passwords.hashes_run(), hashes + 2);
    server.admin().await;
}

async fn a_wait_that_is_too_long_is_answered(database: Database) {
    let (server, slow) = busy(database, &["--hash-queue", "8", "--hash-wait", "1s"]).await;
    let hashes = server.app.passwords.hashes_run();
    is_refused(&login(&server).await.unwrap());
    assert!(!slow.is_finished());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    waiting(&server, 0).await;
    assert_eq!(server.app.passwords.hashes_run(), hashes, "nobody waited for it any more");
    server.admin().await;
}

async fn a_client_that_goes_away_takes_its_job_with_it(database: Database) {
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
    // As when a client is interrupted: its system closes the connection.
    drop(gone);
    let last = login(&server);
    waiting(&server, 2).await;
    assert!(!slow.is_finished());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    // The queue is in order: the job of the one that went away would have been hashed before this.
    last.await.unwrap().oauth_error(400, "invalid_grant");
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1);
}
