//! The log lines of the start, and of refused token requests.

use serde_json::Value;

use crate::harness::{ADMIN_PASSWORD, Database, Form, Grantd, on_both_engines};

on_both_engines!(the_log_has_the_start_and_the_reasons_of_refusals, a_start_on_an_existing_database_logs_one_line);

/// Lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn the_log_has_the_start_and_the_reasons_of_refusals(database: Database) {
    let is_postgres = database.url().starts_with("postgres");
    let mut server =
        Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD), ("GRANTD_LOG_FORMAT", "json")]);
    let url = server.url().to_owned();
    let login = server.request("POST", "/token").form(&Form::admin()).send().await.json_with(200);
    let refresh = Form::of(&[("grant_type", "refresh_token")]);
    let first = refresh.clone().and("refresh_token", login["refresh_token"].as_str().unwrap());
    let next = server.request("POST", "/token").form(&first).send().await.json_with(200);
    let second = refresh.clone().and("refresh_token", next["refresh_token"].as_str().unwrap());
    server.request("POST", "/token").form(&second).send().await.json_with(200);

    let cases = [
        (Form::password("admin", "hunter2-wrong"), 400, "invalid_grant: wrong password"),
        (Form::password("hunter2-typed", "hunter2-wrong"), 400, "invalid_grant: unknown user"),
        (first, 400, "invalid_grant: refresh token reused"),
        (second, 400, "invalid_grant: session has ended or expired"),
        (refresh.and("refresh_token", "hunter2"), 400, "invalid_grant: malformed refresh token"),
        (Form::admin().and("client_id", "hunter2-client"), 401, "invalid_client: unknown client"),
        (Form::admin().and("client_secret", "hunter2"), 401, "invalid_client: wrong client credentials"),
        (
            Form::admin().and("scope", "hunter2"),
            400,
            "invalid_scope: does not exist or is not available to this client",
        ),
    ];
    for (index, (form, status, _)) in cases.iter().enumerate() {
        let request = server.request("POST", "/token").header("X-Request-Id", format!("refused-{index}"));
        assert_eq!(request.form(form).send().await.status, *status, "{index}");
    }
    // The line names who acted, and how it authenticated.
    let patch = server.request("PATCH", "/users/me").basic_user("admin", ADMIN_PASSWORD);
    let patch = patch.header("X-Request-Id", "basic").json(&serde_json::json!({"display_name": "Admin"}));
    let admin = patch.send().await.json_with(200)["id"].clone();
    // A server that stops writes the lines that are still queued.
    server.signal("TERM");
    assert!(server.wait().success());
    let (_, log) = server.kill();
    assert!(!log.contains("hunter2") && !log.contains(ADMIN_PASSWORD), "{log}");
    let lines = lines(&log);
    let start = lines.iter().find(|line| line["message"] == "server started").expect(&log);
    let expected = if is_postgres { "Postgres" } else { "SQLite" };
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (start["listeners"].as_str().unwrap(), start["issuer"].as_str().unwrap(), start["database"].as_str().unwrap()),
        (url.as_str(), url.as_str(), expected)
    );
    let line = lines.iter().find(|line| line["request_id"] == "basic").expect(&log);
    assert_eq!((&line["principal"], &line["credential"]), (&admin, &Value::from("basic")), "{line}");
    for (index, (_, status, reason)) in cases.iter().enumerate() {
        let is_it = |line: &&Value| line["request_id"] == format!("refused-{index}") && line["message"] == "request";
        let line = lines.iter().find(is_it).expect(&log);
        assert_eq!((&line["reason"], &line["status"]), (&Value::from(*reason), &Value::from(*status)), "{line}");
    }
    // Successful requests have no reason.
    assert!(lines.iter().all(|line| line["status"] != 200 || line["reason"] == Value::Null), "{log}");
}

async fn a_start_on_an_existing_database_logs_one_line(database: Database) {
    drop(Grantd::start(database.url(), &[]));
    let mut server = Grantd::start(database.url(), &[]);
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.kill().1;
    let messages: Vec<_> = lines(&log).into_iter().map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["server started", "shutting down: waiting for requests in progress"], "{log}");
}
