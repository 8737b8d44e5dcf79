//! An unknown user costs what a wrong password does: counted in statements and hashes, not in seconds.

use crate::harness::{Database, Form, PASSWORD, TestServer, on_both_engines};

on_both_engines!(an_unknown_user_and_a_wrong_password_do_the_same_work);

async fn an_unknown_user_and_a_wrong_password_do_the_same_work(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    let disabled = server.create_user("otto", &[]).await;
    server.set_disabled(&disabled, true).await;

    let mut works = Vec::new();
    let mut answers = Vec::new();
    for name in ["maria", "MARIA", "maria@example.com", "otto", "nobody", "nobody@example.com", "no name at all", "ä"]
    {
        for password in ["wrong", "also wrong"] {
            let before = (server.app.store.statements_run(), server.app.passwords.hashes_run());
            let answer = server.token(&Form::password(name, password)).send().await;
            answer.oauth_error(400, "invalid_grant");
            let after = (server.app.store.statements_run(), server.app.passwords.hashes_run());
            works.push((after.0 - before.0, after.1 - before.1));
            answers.push(answer.to_the_byte());
        }
    }
    assert!(works.iter().all(|work| *work == works[0]), "{works:?}");
    assert_eq!(works[0].1, 1, "one hash");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}
