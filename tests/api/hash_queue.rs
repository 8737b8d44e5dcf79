//! More logins at once than can be hashed: some are told to come again, and nobody pays for those who left.

use crate::harness::{ADMIN_PASSWORD, Database, Form, TestServer, eventually};

/// A thread, a queue of one, and hashes that take long enough for others to come meanwhile.
const SLOW: [&str; 8] =
    ["--hash-memory", "64MiB", "--hash-iterations", "4", "--hash-threads", "1", "--hash-queue", "1"];

#[actix_web::test]
async fn a_full_queue_is_answered_503() {
    let server = TestServer::with(Database::sqlite(), &SLOW).await;
    let login = async || server.token(&Form::password("admin", "wrong")).send().await;
    let answers = futures_util::future::join_all((0..12).map(|_| login())).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len());
    for answer in refused {
        answer.oauth_error(503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
    }
    // Nothing is left of the flood.
    server.token(&Form::password("admin", ADMIN_PASSWORD)).send().await.json_with(200);
}

#[actix_web::test]
async fn a_client_that_goes_away_takes_its_job_with_it() {
    let flags = [&SLOW[..6], &["--hash-queue", "64"]].concat();
    let server = TestServer::with(Database::sqlite(), &flags).await;
    let before = server.app.passwords.hashes_run();
    let clients: Vec<_> =
        (0..20).map(|_| actix_web::rt::spawn(server.token(&Form::password("admin", "wrong")).try_send())).collect();
    eventually("they wait", async || server.app.passwords.waiting() > 10).await;
    clients.into_iter().for_each(|client| client.abort());
    eventually("nobody waits any more", async || server.app.passwords.waiting() == 0).await;
    let hashed = server.app.passwords.hashes_run() - before;
    assert!(hashed < 20, "{hashed} of 20 were hashed although their clients had gone");
}
