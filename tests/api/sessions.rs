//! Listing and ending sessions: `/users/me/sessions` and `grantd session`.

use chrono::Duration;
use grantd::{clock::Clock, ids::SessionId};
use serde_json::{Value, json};

use crate::{
    harness::{
        Answer, Database, Form, MASTER_KEY, NewClient, PASSWORD, TestServer, eventually, grantd, on_both_engines,
    },
    token::claims,
};

on_both_engines!(
    users_can_list_their_sessions,
    sessions_have_address_and_user_agent_of_the_last_use,
    ended_and_expired_sessions_are_not_listed,
    pages_list_each_session_once,
    users_can_end_their_sessions,
    unknown_sessions_and_those_of_others_are_not_found,
    unauthorized_callers_are_refused,
    changing_the_password_ends_more_than_100_other_sessions,
    operators_can_list_and_end_sessions_on_the_command_line,
);

/// One login.
struct Login {
    id: String,
    access: String,
    refresh: String,
}

impl Login {
    fn of(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let access = text("access_token");
        Self { id: claims(&access)["sid"].as_str().unwrap().to_owned(), access, refresh: text("refresh_token") }
    }

    async fn new(server: &TestServer, form: &Form) -> Self {
        Self::of(&server.token(form).send().await.json_with(200))
    }

    async fn maria(server: &TestServer) -> Self {
        Self::new(server, &maria()).await
    }

    /// Returns whether the session is active. Both its tokens must agree.
    async fn is_active_at(&self, server: &TestServer) -> bool {
        let used = server.get("/users/me").bearer(&self.access).send().await;
        let refreshed = server.token(&refresh(&self.refresh)).send().await;
        if used.status == 200 {
            refreshed.json_with(200);
        } else {
            used.problem(401, "invalid-token");
            refreshed.oauth_error(400, "invalid_grant");
        }
        used.status == 200
    }

    /// Waits until a server refuses the access token. A refresh must be refused at once.
    async fn wait_for_end_at(&self, server: &TestServer) {
        let refreshed = server.token(&refresh(&self.refresh)).send().await;
        refreshed.oauth_error(400, "invalid_grant");
        let over = async || server.get("/users/me").bearer(&self.access).send().await.status == 401;
        eventually("the session has ended", over).await;
        assert!(!self.is_active_at(server).await);
    }

    async fn list(&self, server: &TestServer) -> Vec<Value> {
        page(server, &self.access, "").await["items"].as_array().unwrap().clone()
    }

    async fn end(&self, server: &TestServer, id: &str) -> Answer {
        server.request("DELETE", &format!("/users/me/sessions/{id}")).bearer(&self.access).send().await
    }
}

fn maria() -> Form {
    Form::password("maria", PASSWORD)
}

fn refresh(token: &str) -> Form {
    Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

async fn page(server: &TestServer, token: &str, query: &str) -> Value {
    let answer = server.get(&format!("/users/me/sessions{query}")).bearer(token).send().await;
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json_with(200)
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

async fn with_maria(database: Database) -> TestServer {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    server
}

async fn users_can_list_their_sessions(database: Database) {
    let server = with_maria(database).await;
    server.create_client(NewClient { id: "app", confidential: false, ..NewClient::default() }).await;
    server.admin().await;
    let login = server.token(&maria()).header("User-Agent", "a browser").send().await.json_with(200);
    let first = Login::of(&login);
    server.advance(Duration::milliseconds(61_500));
    let second = Login::new(&server, &maria().and("client_id", "app")).await;
    let shown = |login: &Login, client: &str, at: &str, user_agent: Option<&str>, current: bool| {
        json!({
            "id": login.id, "client_id": client, "created_at": at, "last_used_at": at, "address": "127.0.0.1",
            "user_agent": user_agent, "current": current,
        })
    };
    for (own, current) in [(&first, true), (&second, false)] {
        assert_eq!(
            page(&server, &own.access, "").await,
            json!({
                "items": [
                    shown(&first, "default", "2026-01-31T12:00:00Z", Some("a browser"), current),
                    shown(&second, "app", "2026-01-31T12:01:01.500Z", None, !current),
                ],
                "next_cursor": null,
            })
        );
    }
}

async fn sessions_have_address_and_user_agent_of_the_last_use(database: Database) {
    let server = TestServer::with(database, &["--trusted-proxies", "127.0.0.1/32"]).await;
    server.create_user("maria", &[]).await;
    let ask = async |form: &Form, address: &str, user_agent: &[u8]| {
        let request = server.token(form).header("X-Forwarded-For", address).header("User-Agent", user_agent);
        Login::of(&request.send().await.json_with(200))
    };
    let mut login = ask(&maria(), "203.0.113.7", b"at login").await;
    let long = "x".repeat(300);
    for (address, user_agent, shown) in [
        ("2001:db8::7", &b"at a refresh"[..], json!("at a refresh")),
        ("203.0.113.8", b"a\ttab, a ' and a \\u0000 \"", json!("a\ttab, a ' and a \\u0000 \"")),
        ("203.0.113.8", long.as_bytes(), json!(&long[..256])),
        // A user agent that is not ASCII is not stored.
        ("203.0.113.8", "Bücher/1.0".as_bytes(), Value::Null),
        ("203.0.113.8", b"\xff\xfe\x80", Value::Null),
        ("203.0.113.9", b"", json!("")),
    ] {
        server.advance(Duration::seconds(60));
        let now = server.clock.now();
        login = ask(&refresh(&login.refresh), address, user_agent).await;
        // A request with the access token does not count as a use of the session.
        server.advance(Duration::seconds(1));
        let items = login.list(&server).await;
        assert_eq!((&items[0]["address"], &items[0]["user_agent"]), (&json!(address), &shown));
        assert_eq!(items[0]["last_used_at"], json!(now));
        assert_eq!(items[0]["created_at"], "2026-01-31T12:00:00Z");
    }
    let odd = ask(&maria(), "203.0.113.7", b"\xc3\xbc").await;
    assert_eq!(odd.list(&server).await[1]["user_agent"], Value::Null);
}

async fn ended_and_expired_sessions_are_not_listed(database: Database) {
    let flags = ["--refresh-token-ttl", "10d", "--session-ttl", "15d"];
    let server = TestServer::with(database, &flags).await;
    server.create_user("maria", &[]).await;
    server.create_client(NewClient { id: "app", confidential: false, ..NewClient::default() }).await;
    let (kept, revoked) = (Login::maria(&server).await, Login::maria(&server).await);
    server.advance(Duration::seconds(1));
    let of_app = Login::new(&server, &maria().and("client_id", "app")).await;
    let idle = Login::maria(&server).await;
    assert_eq!(kept.list(&server).await.len(), 4);
    server.request("POST", "/revoke").form(&Form::of(&[("token", &revoked.access)])).send().await;
    server.set_client_disabled("app", true).await;
    server.set_client_disabled("app", false).await;
    assert_eq!(ids(&kept.list(&server).await), [&kept.id, &idle.id]);
    for id in [&revoked.id, &of_app.id] {
        kept.end(&server, id).await.problem(404, "not-found");
    }
    server.advance(Duration::days(9));
    let kept = Login::new(&server, &refresh(&kept.refresh)).await;
    assert_eq!(kept.list(&server).await.len(), 2);
    server.advance(Duration::days(1));
    let kept = Login::new(&server, &refresh(&kept.refresh)).await;
    assert_eq!(ids(&kept.list(&server).await), [&kept.id]);
    kept.end(&server, &idle.id).await.problem(404, "not-found");
    // The maximum lifetime ends it, however often it was used.
    server.advance(Duration::days(5));
    let last = Login::maria(&server).await;
    assert_eq!(ids(&last.list(&server).await), [&last.id]);
}

async fn pages_list_each_session_once(database: Database) {
    let server = with_maria(database).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(Login::maria(&server).await.id);
        server.advance(Duration::seconds(1));
    }
    let own = Login::maria(&server).await;
    expected.push(own.id.clone());
    for limit in [1, 2, 3, 4, 6] {
        let (mut found, mut query, mut pages) = (Vec::new(), format!("?limit={limit}"), 0);
        loop {
            let page = page(&server, &own.access, &query).await;
            found.extend(ids(page["items"].as_array().unwrap()).into_iter().map(str::to_owned));
            pages += 1;
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{cursor}");
            query = format!("?limit={limit}&cursor={cursor}&unknown=1");
        }
        assert_eq!((&found, pages), (&expected, 6_usize.div_ceil(limit)), "of {limit}");
    }
    for (wrong, fields) in [
        ("limit=0", &["limit"][..]),
        ("limit=201", &["limit"]),
        ("limit=1&limit=2", &["limit"]),
        ("cursor=", &["cursor"]),
        ("cursor=x&limit=x", &["limit", "cursor"]),
    ] {
        let answer = server.get(&format!("/users/me/sessions?{wrong}")).bearer(&own.access).send().await;
        let errors = answer.problem(422, "validation")["errors"].clone();
        let mut found: Vec<_> = errors.as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
        found.sort_by_key(|field| fields.iter().position(|known| field == known));
        assert_eq!(found, fields, "{wrong}");
    }
}

async fn users_can_end_their_sessions(database: Database) {
    let issuer = ["--issuer", "http://id.example"];
    let server = TestServer::with(database, &issuer).await;
    let user = server.create_user("maria", &[]).await;
    let replica = TestServer::on(server.database().url(), &issuer, server.clock.clone()).await.unwrap();
    let (own, other) = (Login::maria(&server).await, Login::maria(&server).await);
    assert!(other.is_active_at(&server).await && other.is_active_at(&replica).await);
    let answer = own.end(&server, &other.id).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert!(!other.is_active_at(&server).await);
    other.wait_for_end_at(&replica).await;
    assert!(own.is_active_at(&server).await && own.is_active_at(&replica).await);
    assert_eq!(ids(&own.list(&server).await), [&own.id]);
    own.end(&server, &other.id).await.problem(404, "not-found");
    // A user can also end the session of the request itself.
    let event = "SELECT count(*) FROM audit_events WHERE kind = 'session.ended' AND outcome = 'success' \
                 AND client_id = 'default' AND address = '127.0.0.1' AND request_id IS NOT NULL";
    let by_user = format!("{event} AND actor = '{0}' AND subject = '{0}'", user.id);
    assert_eq!(server.database().number(&by_user).await, 1);
    let details = server.database().text("SELECT details FROM audit_events WHERE kind = 'session.ended'").await;
    assert_eq!(serde_json::from_str::<Value>(&details).unwrap(), json!({"session": other.id}));
    assert_eq!(own.end(&server, &own.id).await.status, 204);
    assert!(!own.is_active_at(&server).await);
    own.end(&server, &own.id).await.problem(401, "invalid-token");
    assert_eq!(server.database().number(&by_user).await, 2);
    assert_eq!(server.database().number("SELECT count(*) FROM audit_events WHERE kind LIKE '%reused'").await, 0);
}

async fn unknown_sessions_and_those_of_others_are_not_found(database: Database) {
    let server = with_maria(database).await;
    let (maria, admin) = (Login::maria(&server).await, Login::new(&server, &Form::admin()).await);
    let unknown = SessionId::new(server.clock.now()).to_string();
    let mut bodies = Vec::new();
    for id in [&admin.id, &unknown, "x", "%00", "%F0%9F%8C%BB", &"9".repeat(500)] {
        let mut body = maria.end(&server, id).await.problem(404, "not-found");
        body["instance"] = Value::Null;
        bodies.push(body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert!(admin.is_active_at(&server).await && maria.is_active_at(&server).await);
    // This also holds for an administrator.
    admin.end(&server, &maria.id).await.problem(404, "not-found");
    assert_eq!(admin.list(&server).await.len(), 1);
}

async fn unauthorized_callers_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read"]).await;
    server.put_role("reader", "items:read").await;
    server.create_user("maria", &["reader"]).await;
    let machine = NewClient { id: "machine", grants: &["client_credentials"], ..NewClient::default() };
    let secret = server.create_client(machine).await;
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let machine = server.token(&form).basic("machine", &secret).send().await.json_with(200);
    let lacks = Login::new(&server, &maria().and("scope", "items:read")).await;
    let session = format!("/users/me/sessions/{}", lacks.id);
    for (method, path) in [("GET", "/users/me/sessions"), ("DELETE", &session)] {
        let ask = || server.request(method, path);
        ask().send().await.problem(401, "unauthorized");
        ask().bearer("x").send().await.problem(401, "invalid-token");
        ask().bearer(machine["access_token"].as_str().unwrap()).send().await.problem(403, "forbidden");
        let refused = ask().bearer(&lacks.access).send().await;
        refused.problem(403, "insufficient-scope");
        assert!(refused.header("www-authenticate").contains("scope=\"account\""));
        let other = server.request("PUT", path).bearer(&lacks.access).send().await;
        other.problem(405, "method-not-allowed");
    }
    assert_eq!(server.database().number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 1);
}

async fn changing_the_password_ends_more_than_100_other_sessions(database: Database) {
    let server = with_maria(database).await;
    let (first, kept) = (Login::maria(&server).await, Login::maria(&server).await);
    for _ in 0..100 {
        Login::maria(&server).await;
    }
    let admin = Login::new(&server, &Form::admin()).await;
    let body = json!({"current_password": PASSWORD, "new_password": "another one of maria's"}).to_string();
    let change = server.request("PUT", "/users/me/password").bearer(&kept.access).body("application/json", body);
    assert_eq!(change.send().await.status, 204);
    first.wait_for_end_at(&server).await;
    assert!(kept.is_active_at(&server).await && admin.is_active_at(&server).await);
    assert_eq!(ids(&kept.list(&server).await), [&kept.id]);
    assert_eq!(server.database().number("SELECT count(*) FROM revocations WHERE kind = 'session'").await, 101);
    assert_eq!(server.database().number("SELECT count(*) FROM revocations").await, 101);
}

/// Runs a command. Returns the exit code, standard output and standard error.
fn command(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = grantd(database.url(), arguments, "", &[("GRANTD_MASTER_KEY", MASTER_KEY)]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn operators_can_list_and_end_sessions_on_the_command_line(database: Database) {
    // Commands use the system clock, so the server does too.
    let server = TestServer::on(database.url(), &[], Clock::system()).await.unwrap();
    let user = server.create_user("maria", &[]).await;
    let form = maria();
    let request = server.token(&form).header("User-Agent", "a browser\twith a tab");
    let first = Login::of(&request.send().await.json_with(200));
    let (second, third) = (Login::maria(&server).await, Login::maria(&server).await);
    let admin = Login::new(&server, &Form::admin()).await;
    let list = |name: &str| {
        let (code, printed, said) = command(&database, &["session", "list", name, "--json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str::<Vec<Value>>(&printed).unwrap()
    };
    let mut shown = first.list(&server).await;
    for session in &mut shown {
        session.as_object_mut().unwrap().remove("current");
    }
    assert_eq!(list("maria"), shown);
    assert_eq!(shown.len(), 3);
    let (_, table, _) = command(&database, &["session", "list", &user.id.to_string()]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains(&first.id) && table.contains("a browser\\twith a tab"), "{table}");

    let end = |arguments: &[&str]| command(&database, &[&["session", "end"], arguments].concat());
    let (code, said, _) = end(&[&second.id]);
    assert!(code == Some(0) && said.contains("Ended the session"), "{said}");
    // A running server syncs the end.
    second.wait_for_end_at(&server).await;
    assert!(first.is_active_at(&server).await);
    let left = list("maria");
    assert!(left.len() == 2 && [&first.id, &third.id].iter().all(|id| ids(&left).contains(&id.as_str())), "{left:?}");
    for wrong in [&[second.id.as_str()][..], &["nothing"], &["--user", "nobody"]] {
        let (code, printed, said) = end(wrong);
        assert!(code == Some(1) && printed.is_empty() && said.starts_with("error: there is no "), "{wrong:?}: {said}");
    }
    for wrong in [&[][..], &[first.id.as_str(), "--user", "maria"]] {
        let (code, _, said) = end(wrong);
        assert!(code == Some(2) && said.contains("Usage: grantd session end") && said.contains("--user"), "{said}");
    }
    assert_eq!(command(&database, &["session", "list", "nobody"]).0, Some(1));
    assert_eq!(end(&["--user", "maria", "--json"]).1, "{}\n");
    for login in [&first, &third] {
        login.wait_for_end_at(&server).await;
    }
    assert!(list("maria").is_empty() && admin.is_active_at(&server).await);
    let events = format!(
        "SELECT count(*) FROM audit_events WHERE kind = 'session.ended' AND actor IS NULL AND subject = '{}'",
        user.id
    );
    assert_eq!(database.number(&events).await, 2);
}
