//! The dashboard, the alerts and the documents speak of metrics and log fields that exist.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, TestServer, eventually},
    metrics::Scrape,
    tls,
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("grantd_") || word.starts_with("process_")).collect()
}

/// Returns the names of all samples, from a server that has each of them.
async fn samples() -> BTreeSet<String> {
    let files = tempfile::tempdir().unwrap();
    let flags = tls::flags(files.path(), 0o600);
    let server = TestServer::with(Database::sqlite(), &flags.each_ref().map(String::as_str)).await;
    let token = server.admin().await;
    let scrape = async || Scrape::of(&server.get("/metrics").bearer(&token).send().await);
    let sealed = async || scrape().await.get("grantd_audit_sealed_timestamp_seconds") > 0.0;
    eventually("events are sealed", sealed).await;
    let scraped = scrape().await;
    scraped.samples.keys().map(|sample| sample.split('{').next().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn dashboard_and_alerts_use_metrics_that_exist() {
    let samples = samples().await;
    for (file, least) in [("deploy/grafana/grantd.json", 20), ("deploy/prometheus/grantd.rules.yml", 9)] {
        let text = read(file);
        let used = names(&text);
        assert!(used.len() >= least, "{file} uses {used:?}");
        let unknown: Vec<_> = used.iter().filter(|name| !samples.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}, which no scrape has");
    }
    // And the document has each of them.
    let documented = read("docs/operations.md");
    let of_metric = |sample: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(sample).to_owned()
    };
    let documented = names(&documented);
    let missing: Vec<_> = samples.iter().filter(|sample| !documented.contains(of_metric(sample).as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");
}

#[test]
fn each_alert_has_a_runbook() {
    let (rules, runbook) = (read("deploy/prometheus/grantd.rules.yml"), read("docs/operations.md"));
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 12);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let url = alert.lines().find_map(|line| line.trim().strip_prefix("runbook_url: ")).expect(name);
        let (page, anchor) = url.split_once('#').expect(name);
        assert!(page.ends_with("/docs/operations.md"), "{name}: {page}");
        let sections = runbook.split("\n### ").skip(1);
        let is_it = |section: &&str| section.lines().next().unwrap().to_lowercase() == anchor;
        let section = sections.filter(is_it).collect::<Vec<_>>();
        let [section] = section[..] else { panic!("{name}: docs/operations.md has no heading for #{anchor}") };
        for part in ["*Means:*", "*Look at:*", "*Do:*"] {
            assert!(section.contains(part), "{name}: the runbook lacks {part}");
        }
    }
}

#[actix_web::test]
async fn fields_of_the_request_log_are_documented() {
    let database = Database::sqlite();
    let variables = [
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("GRANTD_LOG", "info,grantd::http=debug"),
        ("GRANTD_LOG_FORMAT", "json"),
        // Nobody listens: the log has the ids of traces all the same.
        ("GRANTD_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("GRANTD_LOGIN_FAILURES", "1/1h"),
    ];
    let mut server = Grantd::start(database.url(), &variables);
    let token = server.login(ADMIN_PASSWORD).await;
    let named = |id: &str, method: &str, path: &str| server.request(method, path).header("X-Request-Id", id);
    let me = named("read", "GET", "/users/me").bearer(&token).send().await.json_with(200);
    let user = format!("/admin/users/{}", me["id"].as_str().unwrap());
    named("change", "PATCH", &user).bearer(&token).json(&serde_json::json!({"display_name": "A"})).send().await;
    named("nothing", "GET", "/no/route?secret=1").send().await.problem(404, "not-found");
    named("wrong", "POST", "/token")
        .form(&Form::password("nobody", "wrong"))
        .send()
        .await
        .oauth_error(400, "invalid_grant");
    // The first wait is a second, which may have passed; it doubles.
    let throttled = || named("throttled", "POST", "/token").form(&Form::password("nobody", "wrong"));
    while throttled().send().await.status != 429 {}
    let basic = || named("throttled-basic", "GET", "/users/me").basic_user("nobody", "wrong");
    while basic().send().await.status != 429 {}
    server.signal("TERM");
    assert!(server.wait().success());
    let (_, log) = server.kill();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let lines: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    let documented = read("docs/logging.md");
    for line in &lines {
        for field in line.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("`{field}`")), "docs/logging.md lacks {field}");
        }
    }
    // The last one: some were sent more than once.
    let of = |id: &str| *lines.iter().rfind(|line| line["request_id"] == id).expect(&log);
    let text = |id: &str, field: &str| of(id)[field].as_str().unwrap_or_default().to_owned();
    for (id, level, route, status) in [
        ("read", "DEBUG", "/users/me", 200),
        ("change", "INFO", "/admin/users/{id}", 200),
        ("nothing", "INFO", "", 404),
        ("wrong", "INFO", "/token", 400),
        ("throttled", "INFO", "/token", 429),
    ] {
        assert_eq!((text(id, "level").as_str(), text(id, "route").as_str()), (level, route), "{id}");
        assert_eq!(of(id)["status"], status, "{id}");
        assert!(of(id)["micros"].as_u64().is_some_and(|micros| micros > 0), "{id}");
        assert_eq!(text(id, "trace_id").len(), 32, "{id}");
    }
    assert_eq!((text("change", "path"), text("change", "principal")), (user, me["id"].as_str().unwrap().to_owned()));
    assert_eq!(text("nothing", "path"), "/no/route");
    assert_eq!(text("throttled", "reason"), "slow_down: the budget account is used up");
    assert_eq!(text("throttled-basic", "reason"), "the budget account is used up");
}
