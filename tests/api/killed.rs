//! SIGKILL: changes with a response are not lost, and tokens stay valid after the restart.

use std::collections::BTreeSet;

use crate::{
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, PASSWORD, grantd, on_both_engines},
    token::claims,
};

on_both_engines!(users_and_sessions_are_not_lost, an_interrupted_refresh_can_be_retried);

/// The same at each start, so that tokens of one process are valid for the next.
const VARIABLES: [(&str, &str); 2] =
    [("GRANTD_ISSUER", "http://id.example"), ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)];

async fn users_and_sessions_are_not_lost(database: Database) {
    let mut tokens: Vec<String> = Vec::new();
    for round in 0..4 {
        let server = Grantd::start(database.url(), &VARIABLES);
        for token in &tokens {
            assert_eq!(server.request("GET", "/users/me").bearer(token).send().await.status, 200);
        }
        let name = format!("user-{round}");
        let created = grantd(database.url(), &["user", "create", &name, "--password-stdin"], PASSWORD, &VARIABLES);
        assert!(created.status.success(), "{created:?}");
        // Logins without a pause, during which the server is killed.
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let request = |form: &Form| server.request("POST", "/token").form(form);
            let requests: Vec<_> = (0..50).map(|_| request(&Form::password(&name, PASSWORD))).collect();
            logins.spawn(async move {
                let mut answered = Vec::new();
                for request in requests {
                    match request.try_send().await {
                        Ok(answer) => answered.push(answer.json_with(200)["access_token"].as_str().unwrap().to_owned()),
                        Err(_killed) => break,
                    }
                }
                answered
            });
        }
        let before = database.number("SELECT count(*) FROM sessions").await;
        crate::harness::eventually("some logins were answered", async || {
            database.number("SELECT count(*) FROM sessions").await >= before + 5
        })
        .await;
        server.kill();
        tokens.extend(logins.join_all().await.into_iter().flatten());
    }
    assert!(tokens.len() >= 8, "{}", tokens.len());
    let server = Grantd::start(database.url(), &VARIABLES);
    let mut sessions = BTreeSet::new();
    for token in &tokens {
        assert_eq!(server.request("GET", "/users/me").bearer(token).send().await.status, 200);
        sessions.insert(claims(token)["sid"].as_str().unwrap().to_owned());
    }
    assert_eq!(sessions.len(), tokens.len());
    for session in sessions {
        let id = session.replace('-', "");
        let id = if database.is_postgres() { format!("'{id}'") } else { format!("x'{id}'") };
        assert_eq!(database.number(&format!("SELECT count(*) FROM sessions WHERE id = {id}")).await, 1, "{session}");
    }
    for round in 0..4 {
        let form = Form::password(&format!("user-{round}"), PASSWORD);
        assert_eq!(server.request("POST", "/token").form(&form).send().await.status, 200);
    }
}

/// The client does not know whether its refresh was committed before the server was killed. It retries with the token that it
/// has, and its session continues.
async fn an_interrupted_refresh_can_be_retried(database: Database) {
    let mut token: Option<String> = None;
    for _ in 0..5 {
        let server = Grantd::start(database.url(), &VARIABLES);
        if token.is_none() {
            let body = server.request("POST", "/token").form(&Form::admin()).send().await.json_with(200);
            token = Some(body["refresh_token"].as_str().unwrap().to_owned());
        }
        let before = database.number("SELECT counter FROM sessions").await;
        let first = token.clone().unwrap();
        let (client, url) = (crate::harness::http_client(), server.url().to_owned());
        let refreshing = tokio::spawn(async move {
            let mut current = first;
            loop {
                let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &current)]);
                let request = crate::harness::Request::new(&client, "POST", &format!("{url}/token")).form(&form);
                match request.try_send().await {
                    Ok(answer) => {
                        answer.json_with(200)["refresh_token"].as_str().unwrap().clone_into(&mut current);
                    }
                    Err(_killed) => return current,
                }
            }
        });
        crate::harness::eventually("some refreshes were answered", async || {
            database.number("SELECT counter FROM sessions").await >= before + 20
        })
        .await;
        server.kill();
        token = Some(refreshing.await.unwrap());
    }
    assert_eq!(database.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM audit_events WHERE kind = 'refresh_token.reused'").await, 0);
}
