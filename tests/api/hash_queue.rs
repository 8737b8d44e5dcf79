//! A flood of logins: what does not fit into the queue is refused at once, and who goes away is not hashed for.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{Answer, Database, Form, TestServer, eventually, on_both_engines};

on_both_engines!(
    a_full_queue_is_answered_at_once,
    a_wait_that_is_too_long_is_answered,
    a_client_that_goes_away_takes_its_job_with_it
);

/// One thread, and hashes that take long enough for requests to overtake each other.
const SLOW: [&str; 6] = ["--hash-threads", "1", "--hash-memory", "64MiB", "--hash-iterations", "5"];

/// Sends so many logins at once; gives the answers.
async fn flood(server: &TestServer, count: usize) -> Vec<Answer> {
    let mut requests = tokio::task::JoinSet::new();
    for at in 0..count {
        requests.spawn(server.token(&Form::password(&format!("nobody-{at}"), "wrong")).send());
    }
    requests.join_all().await
}

#[track_caller]
fn check(answers: &[Answer]) -> (usize, usize) {
    let mut counts = (0, 0);
    for answer in answers {
        if answer.status == 503 {
            answer.oauth_error(503, "temporarily_unavailable");
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
            counts.1 += 1;
        } else {
            answer.oauth_error(400, "invalid_grant");
            counts.0 += 1;
        }
    }
    counts
}

async fn a_full_queue_is_answered_at_once(database: Database) {
    let server = TestServer::with(database, &[&SLOW[..], &["--hash-queue", "2", "--hash-wait", "60s"]].concat()).await;
    let token = server.admin().await;
    let hashes = server.app.passwords.hashes_run();
    let (answers, me) = tokio::join!(flood(&server, 12), async {
        eventually("the queue is full", async || server.app.passwords.waiting() == 2).await;
        server.get("/users/me").bearer(&token).send().await
    });
    assert_eq!(me.status, 200, "other routes go on");
    let (checked, refused) = check(&answers);
    assert!(checked >= 3 && refused >= 1, "{checked} checked, {refused} refused");
    assert_eq!(server.app.passwords.hashes_run() - hashes, checked as u64);
    server.admin().await;
}

async fn a_wait_that_is_too_long_is_answered(database: Database) {
    let server = TestServer::with(database, &[&SLOW[..], &["--hash-queue", "64", "--hash-wait", "1s"]].concat()).await;
    let (checked, refused) = check(&flood(&server, 24).await);
    assert!(checked >= 1 && refused >= 1, "{checked} checked, {refused} refused");
    // Those that were refused are in nobody's way.
    eventually("the queue is empty", async || server.app.passwords.waiting() == 0).await;
    server.admin().await;
}

async fn a_client_that_goes_away_takes_its_job_with_it(database: Database) {
    let server = TestServer::with(database, &[&SLOW[..], &["--hash-queue", "8", "--hash-wait", "60s"]].concat()).await;
    let before = server.app.passwords.hashes_run();
    let under_way = tokio::spawn(server.token(&Form::password("nobody", "wrong")).send());
    eventually("the thread is busy", async || server.app.passwords.hashes_run() == before + 1).await;

    let body = Form::password("nobody", "wrong").encode();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut gone = TcpStream::connect(server.url().trim_start_matches("http://")).await.unwrap();
    gone.write_all(request.as_bytes()).await.unwrap();
    eventually("the job waits", async || server.app.passwords.waiting() == 1).await;
    // As a client does that is interrupted: its system closes the connection.
    drop(gone);
    under_way.await.unwrap().oauth_error(400, "invalid_grant");
    // The queue is in order: what comes next is hashed after the job of the one that went away would have been.
    server.token(&Form::password("nobody", "wrong")).send().await.oauth_error(400, "invalid_grant");
    assert_eq!(server.app.passwords.hashes_run(), before + 2);
}
