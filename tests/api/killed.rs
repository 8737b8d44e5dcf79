//! SIGKILL between any two requests: whatever was answered is there afterwards.

use crate::harness::{Database, Form, Grantd, grantd, on_both_engines};

on_both_engines!(nothing_that_was_answered_is_lost);

async fn nothing_that_was_answered_is_lost(database: Database) {
    let variables = [("GRANTD_ADMIN_PASSWORD", "correct horse"), ("GRANTD_ISSUER", "https://id.example")];
    let mut tokens: Vec<String> = Vec::new();
    for round in 0..4 {
        let server = Grantd::start(database.url(), &variables);
        for token in &tokens {
            let authorization = format!("Bearer {token}");
            server.request("GET", "/users/me").header("Authorization", authorization).send().await.json_with(200);
        }
        let name = format!("user{round}");
        let made = grantd(database.url(), &["user", "create", &name, "--password-stdin"], "correct horse", &variables);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let form = Form::password(&name, "correct horse");
        let answer = server.request("POST", "/token").form(&form).send().await.json_with(200);
        server.kill();
        tokens.push(answer["access_token"].as_str().unwrap().to_owned());
        assert_eq!(database.number("SELECT count(*) FROM sessions").await, round + 1);
        assert_eq!(database.number("SELECT count(*) FROM users").await, round + 2);
    }
}
