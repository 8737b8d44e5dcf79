//! Lists of audit events, over HTTP and on the command line.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use grantd::audit::{self, Event, Kind, Origin};
use serde_json::{Value, json};

use crate::{
    audit::{EVENTS, page},
    harness::{Database, Form, MASTER_KEY, NewClient, PASSWORD, TestServer, grantd, on_both_engines},
};

on_both_engines!(
    pages_list_each_event_once_newest_first,
    filters_can_be_combined,
    all_invalid_parameters_are_reported_together,
    the_scope_audit_read_is_required,
    the_command_line_lists_the_same_events,
);

/// Returns the events of all pages.
async fn every(server: &TestServer, admin: &str, query: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(server, admin, &format!("{query}{cursor}")).await;
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return all };
        assert!(next.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{next}");
        cursor = format!("&cursor={next}");
    }
}

/// Records this many events, several in each millisecond.
async fn record_many(server: &TestServer, count: i64) {
    server
        .within(async move |app, now| {
            let record = app.store.transact(async |conn| {
                for n in 0..count {
                    let kind = [Kind::UserChanged, Kind::RoleChanged, Kind::ClientChanged]
                        [usize::try_from(n / 5 % 3).unwrap()];
                    let actor = (n % 2 == 0).then(|| format!("actor-{}", n % 4));
                    let event = Event::success(kind).subject(&format!("subject-{}", n % 3)).details(json!({"n": n}));
                    let origin = Origin { actor, ..Origin::system() };
                    audit::record(conn, event, &origin, now + Duration::microseconds(n * 300)).await?;
                }
                Ok::<_, grantd::error::Error>(())
            });
            record.await.unwrap();
        })
        .await;
}

async fn pages_list_each_event_once_newest_first(database: Database) {
    let server = TestServer::start(database).await;
    server.advance(Duration::days(1));
    record_many(&server, 450).await;
    let admin = server.admin().await;
    let since = "since=2026-02-01T12:00:00Z&actor=actor-2";
    let numbers = |events: &[Value]| -> BTreeSet<i64> {
        events.iter().map(|event| event["details"]["n"].as_i64().unwrap_or(-1)).collect()
    };
    for limit in ["", "limit=1&", "limit=7&", "limit=28&", "limit=200&"] {
        let all = every(&server, &admin, &format!("{limit}{since}")).await;
        let expected: BTreeSet<i64> = (0..450).filter(|n| n % 4 == 2).collect();
        assert_eq!((all.len(), numbers(&all)), (112, expected), "{limit}");
        assert!(all.windows(2).all(|two| two[0]["id"].as_str() > two[1]["id"].as_str()), "{limit}");
    }
    assert_eq!(page(&server, &admin, "").await["items"].as_array().unwrap().len(), 50);
    // A full last page has no next cursor.
    let full = page(&server, &admin, &format!("limit=112&{since}")).await;
    assert_eq!((full["items"].as_array().unwrap().len(), &full["next_cursor"]), (112, &Value::Null));

    // New events do not shift the following page.
    let first = page(&server, &admin, "limit=200").await;
    server.advance(Duration::days(1));
    record_many(&server, 30).await;
    let admin_now = server.admin().await;
    let cursor = format!("limit=200&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = page(&server, &admin_now, &cursor).await;
    let ids: BTreeSet<&str> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 400);
}

fn parse(event: &Value) -> DateTime<Utc> {
    event["at"].as_str().unwrap().parse().unwrap()
}

async fn filters_can_be_combined(database: Database) {
    let server = TestServer::start(database).await;
    server.advance(Duration::seconds(1));
    record_many(&server, 120).await;
    server.advance(Duration::seconds(1));
    let admin = server.admin().await;
    let all = every(&server, &admin, "limit=200").await;
    // Within a millisecond that has earlier events.
    let since = all.iter().find(|event| event["details"]["n"] == 42).unwrap();
    let (since, until) = (parse(since), since["at"].as_str().unwrap());
    assert_eq!(until, "2026-01-31T12:00:01.012600Z");
    let filters = [("actor", "actor-2"), ("subject", "subject-1"), ("kind", "role.changed"), ("since", until)];
    let holds = |event: &Value, name: &str, value: &str| {
        if name == "since" { parse(event) >= since } else { event[name] == value }
    };
    for chosen in 0..16 {
        let chosen: Vec<_> = (0..4).filter(|bit| chosen >> bit & 1 == 1).map(|bit| &filters[bit]).collect();
        let query = chosen.iter().fold(String::new(), |query, (name, value)| format!("{query}&{name}={value}"));
        let expected: Vec<&Value> =
            all.iter().filter(|event| chosen.iter().all(|(name, value)| holds(event, name, value))).collect();
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(every(&server, &admin, &format!("limit=20{query}")).await.iter().collect::<Vec<_>>(), expected);
    }
    // The same time in another time zone, and times without events.
    let elsewhere = page(&server, &admin, "since=2026-01-31T13:00:01.012600%2B01:00&actor=actor-2").await;
    assert_eq!(elsewhere, page(&server, &admin, &format!("since={until}&actor=actor-2")).await);
    for late in ["2026-01-31T12:00:02.000001Z", "9999-12-31T23:59:59-23:59"] {
        assert_eq!(page(&server, &admin, &format!("since={late}")).await["items"], json!([]), "{late}");
    }
    assert_eq!(every(&server, &admin, "limit=200&since=0000-01-01T00:00:00%2B01:00").await.len(), all.len());
    for query in ["actor=", "actor=ACTOR-2", "subject=%27", "actor=actor-2%25"] {
        assert_eq!(page(&server, &admin, query).await["items"], json!([]), "{query}");
    }
}

async fn all_invalid_parameters_are_reported_together(database: Database) {
    let server = TestServer::start(database).await;
    let admin = server.admin().await;
    let errors = async |query: &str| {
        let answer = server.get(&format!("{EVENTS}?{query}")).bearer(&admin).send().await;
        let errors = answer.problem(422, "validation")["errors"].as_array().unwrap().clone();
        let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
        errors.iter().map(|error| (text(error, "field"), text(error, "code"))).collect::<BTreeSet<_>>()
    };
    for (query, field, code) in [
        ("limit=0", "limit", "format"),
        ("limit=201", "limit", "format"),
        ("limit=x", "limit", "format"),
        ("limit=1&limit=1", "limit", "format"),
        ("cursor=!", "cursor", "format"),
        ("cursor=", "cursor", "format"),
        ("cursor=AAAA", "cursor", "format"),
        ("since=yesterday", "since", "format"),
        ("since=2026-01-31", "since", "format"),
        ("since=2026-01-31T12:00:00", "since", "format"),
        ("since=1769860800", "since", "format"),
        ("since=", "since", "format"),
        ("kind=nothing", "kind", "unknown"),
        ("kind=LOGIN", "kind", "unknown"),
        ("kind=", "kind", "unknown"),
        ("kind=login&kind=login", "kind", "format"),
        ("actor=a&actor=b", "actor", "format"),
        ("subject=a%00", "subject", "format"),
    ] {
        assert_eq!(errors(query).await, BTreeSet::from([(field.to_owned(), code.to_owned())]), "{query}");
    }
    let all = errors("limit=0&since=x&kind=x&actor=a&actor=b&subject=a&subject=b").await;
    let fields: Vec<&str> = all.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["actor", "kind", "limit", "since", "subject"]);
    // Unknown parameters are ignored.
    page(&server, &admin, "other=1&limit=200").await;
}

async fn the_scope_audit_read_is_required(database: Database) {
    let server = TestServer::start(database).await;
    server.put_role("auditor", "audit:read").await;
    server.create_user("maria", &[]).await;
    let auditor = server.create_user("auditor", &["auditor"]).await;
    server.get(&format!("{EVENTS}?limit=x")).send().await.problem(401, "unauthorized");
    let maria = server.login("maria", PASSWORD).await;
    let refused = server.get(&format!("{EVENTS}?limit=x")).bearer(&maria).send().await;
    refused.problem(403, "insufficient-scope");
    assert!(refused.header("www-authenticate").contains("scope=\"audit:read\""));
    let token = server.login("auditor", PASSWORD).await;
    page(&server, &token, "").await;
    for (scopes, status) in [("audit:read", 200), ("users:read", 403)] {
        let id = if status == 200 { "reader" } else { "other" };
        let secret = server
            .create_client(NewClient { id, grants: &["client_credentials"], scopes, ..NewClient::default() })
            .await;
        let form = Form::of(&[("grant_type", "client_credentials")]);
        let body = server.token(&form).basic(id, &secret).send().await.json_with(200);
        let answer = server.get(EVENTS).bearer(body["access_token"].as_str().unwrap()).send().await;
        assert_eq!(answer.status, status);
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let other = server.request(method, EVENTS).bearer(&token).send().await;
        other.problem(405, "method-not-allowed");
        assert_eq!(other.header("allow"), "GET, HEAD");
    }
    server.set_roles(&auditor, &[]).await;
    server.get(EVENTS).bearer(&token).send().await.problem(403, "insufficient-scope");
    server.set_disabled(&auditor, true).await;
    server.get(EVENTS).bearer(&token).send().await.problem(401, "invalid-token");
}

async fn the_command_line_lists_the_same_events(database: Database) {
    let server = TestServer::start(database).await;
    record_many(&server, 1200).await;
    server.advance(Duration::seconds(1));
    let admin = server.admin().await;
    let run = |flags: &[&str]| {
        let arguments = [&["audit", "list"], flags].concat();
        grantd(server.database().url(), &arguments, "", &[("GRANTD_MASTER_KEY", MASTER_KEY)])
    };
    let json = |flags: &[&str]| {
        let output = run(&[flags, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    assert_eq!(json(&[]), every(&server, &admin, "").await[..50]);
    let all = every(&server, &admin, "limit=200").await;
    assert_eq!(json(&["--limit", "1100"]), all[..1100]);
    assert_eq!(json(&["--limit", "5000"]), all);
    let since = "2026-01-31T12:00:00.200Z";
    let query = format!("limit=200&actor=actor-0&subject=subject-1&kind=user.changed&since={since}");
    let filtered = every(&server, &admin, &query).await;
    let flags = ["--actor", "actor-0", "--subject", "subject-1", "--kind", "user.changed", "--since", since];
    let listed = json(&flags);
    assert!(!listed.is_empty());
    assert_eq!(listed, filtered);

    let table = String::from_utf8(run(&["--limit", "2"]).stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].trim_start().starts_with("at ") && lines[1].contains("2026-01-31T12:00:01Z"), "{table}");
    assert!(lines[1].contains("login") && lines[1].contains("session="), "{table}");
    let request = json(&["--limit", "1"])[0]["request_id"].as_str().unwrap().to_owned();
    assert!(lines[1].contains(&format!("request_id={request}")) && !lines[1].contains("command line"), "{table}");
    for wrong in [["--kind", "nothing"], ["--since", "yesterday"], ["--limit", "0"]] {
        let output = run(&wrong);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{wrong:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.contains(wrong[0]), "{said}");
    }
}
