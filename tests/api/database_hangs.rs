//! A database that hangs: each request is answered within about the timeout of a statement, however many there are.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, Database, Form, PASSWORD, Proxy, Request, TestServer, beginning};

/// Enough users that batches of them, one after the other, would take several times the timeout.
const USERS: usize = 600;
/// The value of `--database-timeout`.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Creates users and logs them in. Returns the access token and the refresh token of each.
async fn logins(server: &TestServer, database: &Database) -> Vec<(String, String)> {
    let token = server.admin().await;
    let proxied = json!({"username": "maria", "password": PASSWORD});
    let created = server.request("POST", "/admin/users").bearer(&token).json(&proxied).send().await;
    created.json_with(201);
    let changed = [("id", "gen_random_uuid()"), ("username", "'maria-' || n.i")];
    database.copy_row("users", "r.username = 'maria'", USERS, &changed).await;
    let roles = "INSERT INTO user_roles (user_id, role) SELECT id, 'member' FROM users WHERE username LIKE 'maria-%'";
    database.execute(roles).await.unwrap();
    let mut logins = Vec::new();
    for number in 1..=USERS {
        let form = Form::password(&format!("maria-{number}"), PASSWORD);
        let body = server.token(&form).send().await.json_with(200);
        let member = |name: &str| body[name].as_str().unwrap().to_owned();
        logins.push((member("access_token"), member("refresh_token")));
    }
    logins
}

/// Sends all requests at once. Returns the responses, which must arrive within this many timeouts plus two seconds.
async fn all_within(timeouts: u32, requests: Vec<Request>) -> Vec<Answer> {
    let mut sent = tokio::task::JoinSet::new();
    for request in requests {
        sent.spawn(request.send());
    }
    let (mut answers, count) = (Vec::new(), sent.len());
    let collect = async {
        while let Some(answer) = sent.join_next().await {
            answers.push(answer.unwrap());
        }
    };
    let in_time = tokio::time::timeout(timeouts * TIMEOUT + Duration::from_secs(2), collect).await.is_ok();
    assert!(in_time, "{} of {count} requests were answered in time", answers.len());
    answers
}

/// Starts a server, logs users in, and silences the proxy to Postgres.
async fn hanging() -> Option<(TestServer, Vec<(String, String)>, Proxy, Database)> {
    let database = Database::postgres().await?;
    let proxy = Proxy::before(database.url());
    let clock = grantd::clock::Clock::manual(beginning());
    let server = TestServer::on(proxy.url(), &["--database-timeout", "1s"], clock).await.unwrap();
    let logins = logins(&server, &database).await;
    proxy.silence();
    Some((server, logins, proxy, database))
}

#[actix_web::test]
async fn account_requests_are_answered_in_time() {
    let Some((server, logins, _proxy, _database)) = hanging().await else { return };
    let requests = logins.iter().map(|(access, _)| server.get("/users/me").bearer(access)).collect();
    for answer in all_within(3, requests).await {
        answer.problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
}

#[actix_web::test]
async fn refreshes_are_answered_in_time() {
    let Some((server, logins, _proxy, _database)) = hanging().await else { return };
    let form = |token: &str| Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let requests = logins.iter().map(|(_, refresh)| server.token(&form(refresh))).collect();
    for answer in all_within(3, requests).await {
        answer.oauth_error(503, "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
}

#[actix_web::test]
async fn mixed_requests_are_answered_in_time_and_succeed_afterwards() {
    let Some((server, logins, proxy, _database)) = hanging().await else { return };
    let form = |token: &str| Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let mut requests = Vec::new();
    for (number, (access, refresh)) in logins.iter().take(USERS / 2).enumerate() {
        requests.push(server.get("/users/me").bearer(access));
        requests.push(server.token(&form(refresh)));
        requests.push(server.request("POST", "/revoke").form(&Form::of(&[("token", access)])));
        requests.push(server.token(&Form::password(&format!("nobody-{number}"), PASSWORD)));
    }
    for answer in all_within(3, requests).await {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    proxy.restore();
    crate::harness::eventually("the database is back", async || server.get("/readyz").send().await.status == 200).await;
    for (_, refresh) in &logins[..20] {
        server.token(&form(refresh)).send().await.json_with(200);
    }
}
