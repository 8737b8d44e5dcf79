//! The limit of self-registrations.

use std::sync::atomic::Ordering;

use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{Answer, Database, PASSWORD, TestServer, on_both_engines};

on_both_engines!(ten_registrations_an_hour_are_allowed, only_valid_requests_count);

async fn register(server: &TestServer, address: &str, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    server.request("POST", "/users").header("X-Forwarded-For", address).json(&body).send().await
}

#[track_caller]
fn refused(answer: &Answer, seconds: u64) -> Value {
    let problem = answer.problem(429, "too-many-requests");
    assert_eq!(answer.headers_named("retry-after"), [seconds.to_string()]);
    assert_eq!(answer.headers_named("ratelimit-policy"), ["\"registration\";q=10;w=3600"]);
    assert_eq!(answer.headers_named("ratelimit"), [format!("\"registration\";r=0;t={seconds}")]);
    problem
}

async fn ten_registrations_an_hour_are_allowed(database: Database) {
    let server = TestServer::with(database, &["--registration", "--trusted-proxies", "127.0.0.1"]).await;
    // This machine too, which is exempt from the limit of requests.
    for address in ["127.0.0.1", "2001:db8::7"] {
        let prefix = if address.contains(':') { "six" } else { "four" };
        for number in 0..9 {
            let answer = register(&server, address, &format!("{prefix}-{number}"), PASSWORD).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            assert!(!answer.headers_named("ratelimit").iter().any(|line| line.contains("registration")));
        }
        // A name that is taken counts as well.
        register(&server, address, &format!("{prefix}-0"), PASSWORD).await.problem(409, "conflict");
    }
    let hashes = server.app.passwords.hashes_run();
    let before = server.database().row_counts().await;
    let problem = refused(&register(&server, "127.0.0.1", "eleventh", PASSWORD).await, 360);
    assert!(problem["detail"].as_str().unwrap().contains("registrations"), "{problem}");
    assert_eq!(server.app.passwords.hashes_run(), hashes);
    assert_eq!(server.database().row_counts().await, before);
    assert_eq!(server.app.limits.refused.registrations.load(Ordering::Relaxed), 1);
    assert_eq!(server.app.limits.refused.requests.load(Ordering::Relaxed), 0);
    // A limited network has both fields of both limits, first those of the one that refused.
    let answer = register(&server, "2001:db8::ffff", "eleventh", PASSWORD).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "360"));
    let policies = answer.headers_named("ratelimit-policy");
    assert_eq!(policies, ["\"registration\";q=10;w=3600", "\"requests\";q=500;w=1"]);
    let [registration, requests] = answer.headers_named("ratelimit")[..] else { panic!("{:?}", answer.headers) };
    assert!(registration == "\"registration\";r=0;t=360" && requests.starts_with("\"requests\";r="), "{requests}");

    // Another network, the other routes, and administrators are unaffected.
    assert_eq!(register(&server, "2001:db8:0:1::7", "another", PASSWORD).await.status, 201);
    server.login("four-0", PASSWORD).await;
    let admin = server.admin().await;
    let body = json!({"username": "by-admin", "password": PASSWORD});
    let created = server.request("POST", "/admin/users").bearer(&admin).json(&body).send().await;
    assert_eq!(created.status, 201);

    server.advance(Duration::seconds(360));
    assert_eq!(register(&server, "127.0.0.1", "eleventh", PASSWORD).await.status, 201);
    refused(&register(&server, "127.0.0.1", "twelfth", PASSWORD).await, 360);
}

async fn only_valid_requests_count(database: Database) {
    let server = TestServer::with(database, &["--registration"]).await;
    for _ in 0..11 {
        register(&server, "", "a name", "x").await.wrong_fields(&[("username", "format"), ("password", "length")]);
        register(&server, "", "maria", "password1").await.wrong_fields(&[("password", "common")]);
        let request = server.request("POST", "/users").json(&json!({"username": "maria", "admin": true}));
        request.send().await.problem(400, "malformed-body");
    }
    for number in 0..10 {
        assert_eq!(register(&server, "", &format!("user-{number}"), PASSWORD).await.status, 201);
    }
    refused(&register(&server, "", "user-10", PASSWORD).await, 360);
    // What is not valid is told so even then.
    register(&server, "", "a name", PASSWORD).await.wrong_fields(&[("username", "format")]);
}
