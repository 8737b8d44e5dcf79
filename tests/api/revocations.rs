//! `GET /revocations`, and its followers: other servers, and the guards of services.

use std::time::{Duration as RealTime, Instant};

use chrono::Duration;
use grantd_guard::{AuthenticateError, Guard, TokenError};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};

use crate::{
    harness::{Database, Form, MASTER_KEY, NewClient, PASSWORD, TestServer, eventually, on_both_engines, rotate_keys},
    token::claims,
};

on_both_engines!(
    revocations_are_listed_until_the_tokens_expire,
    pages_list_each_revocation_once,
    following_requires_a_confidential_client_or_the_scope,
    a_cursor_of_another_history_is_refused,
    a_long_poll_ends_with_a_revocation,
    no_item_is_lost_when_transactions_overlap,
    other_servers_sync_revocations,
    guards_sync_revocations,
    a_key_change_ends_long_polls,
);

const SERVICE: NewClient = NewClient {
    id: "service",
    confidential: true,
    grants: &["client_credentials"],
    scopes: "account",
    audiences: &[],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

struct Follower<'s> {
    server: &'s TestServer,
    secret: String,
}

impl<'s> Follower<'s> {
    async fn of(server: &'s TestServer) -> Self {
        Self { server, secret: server.create_client(SERVICE).await }
    }

    async fn get(&self, query: &str) -> Value {
        let path = format!("/revocations{query}");
        let answer = self.server.get(&path).basic("service", &self.secret).send().await;
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json_with(200)
    }
}

fn next(page: &Value) -> &str {
    let next = page["next"].as_str().unwrap();
    assert!(next.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{next}");
    next
}

fn kinds(page: &Value) -> Vec<(&str, &str)> {
    let text = |item: &'_ Value, name: &str| item[name].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap();
    for item in items {
        assert!(text(item, "revoked_at").ends_with('Z') && text(item, "expires_at").ends_with('Z'), "{item}");
    }
    items.iter().map(|item| (item["kind"].as_str().unwrap(), item["id"].as_str().unwrap())).collect()
}

async fn login(server: &TestServer) -> String {
    server.login("maria", PASSWORD).await
}

async fn revoke(server: &TestServer, token: &str) {
    let answer = server.request("POST", "/revoke").form(&Form::of(&[("token", token)])).send().await;
    assert_eq!(answer.status, 200);
}

fn sid(token: &str) -> String {
    claims(token)["sid"].as_str().unwrap().to_owned()
}

async fn revocations_are_listed_until_the_tokens_expire(database: Database) {
    let server = TestServer::start(database).await;
    let user = server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let empty = follower.get("").await;
    assert_eq!(empty["items"], json!([]));
    let (one, two) = (login(&server).await, login(&server).await);
    revoke(&server, &one).await;
    let page = follower.get("").await;
    assert_eq!(kinds(&page), [("session", sid(&one).as_str())]);
    // Until its last token expires, and a minute longer.
    assert_eq!(page["items"][0]["revoked_at"], "2026-01-31T12:00:00Z");
    assert_eq!(page["items"][0]["expires_at"], "2026-01-31T12:16:00Z");
    assert_eq!(follower.get(&format!("?after={}", next(&empty))).await["items"], page["items"]);

    server.set_disabled(&user, true).await;
    let news = follower.get(&format!("?after={}", next(&page))).await;
    assert_eq!(kinds(&news), [("session", sid(&two).as_str())]);
    server.set_client_disabled("default", true).await;
    let news = follower.get(&format!("?after={}", next(&news))).await;
    assert_eq!(kinds(&news), [("client", "default")]);
    let none = follower.get(&format!("?after={}", next(&news))).await;
    assert_eq!((kinds(&none), next(&none)), (vec![], next(&news)));
    // Revocations of expired tokens are not listed, and cursors stay valid. (A client's revocation is some seconds later.)
    server.advance(Duration::minutes(16) + Duration::seconds(5));
    assert_eq!(follower.get("").await["items"], json!([]));
    assert_eq!(follower.get(&format!("?after={}", next(&page))).await["items"], json!([]));
}

async fn pages_list_each_revocation_once(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        let token = login(&server).await;
        revoke(&server, &token).await;
        expected.push(sid(&token));
    }
    let mut found = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = follower.get(&query).await;
        let ids: Vec<String> = kinds(&page).into_iter().map(|(_, id)| id.to_owned()).collect();
        let is_last = ids.len() < 3;
        found.extend(ids);
        query = format!("?limit=3&after={}", next(&page));
        if is_last {
            break;
        }
    }
    assert_eq!(found, expected);
    for wrong in ["limit=0", "limit=201", "limit=x", "wait=31", "wait=-1", "after=x", "after=", "limit=1&limit=2"] {
        let answer = server.get(&format!("/revocations?{wrong}")).basic("service", &follower.secret).send().await;
        let problem = answer.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], wrong.split('=').next().unwrap(), "{wrong}");
    }
}

async fn following_requires_a_confidential_client_or_the_scope(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let none = server.get("/revocations").send().await;
    none.problem(401, "unauthorized");
    assert_eq!(none.headers_named("www-authenticate"), ["Bearer realm=\"grantd\"", "Basic realm=\"grantd\""]);
    for (id, secret) in [("service", "grs_wrong"), ("default", ""), ("maria", PASSWORD), ("nobody", "x")] {
        server.get("/revocations").basic(id, secret).send().await.problem(401, "unauthorized");
    }
    let maria = login(&server).await;
    server.get("/revocations").bearer(&maria).send().await.problem(403, "insufficient-scope");
    server.get("/revocations").bearer("a.b.c").send().await.problem(401, "invalid-token");
    let admin = server.admin().await;
    assert_eq!(server.get("/revocations").bearer(&admin).send().await.status, 200);
    assert_eq!(server.get("/revocations").basic("service", &follower.secret).send().await.status, 200);
}

async fn a_cursor_of_another_history_is_refused(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let token = login(&server).await;
    revoke(&server, &token).await;
    let page = follower.get("").await;
    let cursor = next(&page).to_owned();
    let refused = async |cursor: &str| {
        let path = format!("/revocations?after={cursor}");
        let answer = server.get(&path).basic("service", &follower.secret).send().await;
        assert_eq!(answer.problem(422, "validation")["errors"][0]["field"], "after", "{cursor}");
    };
    // A number that does not exist yet, and an existing number with another mark.
    refused(&cursor.replacen('1', "2", 1)).await;
    let (number, rest) = cursor.split_once('-').unwrap();
    refused(&format!("{number}-0123456789abcdef{}", &rest[16..])).await;
    // After a restored backup, the number belongs to another revocation.
    server.database().execute("UPDATE revocations SET mark = 'feedfacefeedface'").await.unwrap();
    let other = login(&server).await;
    revoke(&server, &other).await;
    refused(&cursor).await;
    assert_eq!(kinds(&follower.get("").await).len(), 2);
}

async fn a_long_poll_ends_with_a_revocation(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let cursor = next(&follower.get("").await).to_owned();
    let path = format!("/revocations?wait=30&after={cursor}");
    let waiting = tokio::spawn(server.get(&path).basic("service", &follower.secret).send());
    let token = login(&server).await;
    revoke(&server, &token).await;
    let page = waiting.await.unwrap().json_with(200);
    assert_eq!(kinds(&page), [("session", sid(&token).as_str())]);
    // Existing revocations are returned at once, and an empty page after the requested time.
    let path = format!("?wait=30&after={cursor}");
    assert_eq!(kinds(&follower.get(&path).await).len(), 1);
    let path = format!("?wait=1&after={}", next(&page));
    assert_eq!(kinds(&follower.get(&path).await), []);
    // A server that stops answers waiting requests.
    let path = format!("/revocations?wait=30&after={}", next(&page));
    let waiting = tokio::spawn(server.get(&path).basic("service", &follower.secret).send());
    eventually("the request waits", async || server.app.sync.waiting() > 0).await;
    server.app.stop();
    assert_eq!(kinds(&waiting.await.unwrap().json_with(200)), []);
}

/// A transaction of another process.
enum Other {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Other {
    async fn open(database: &Database) -> Self {
        if database.is_postgres() {
            Self::Postgres(PgConnection::connect(database.url()).await.unwrap())
        } else {
            Self::Sqlite(SqliteConnection::connect(database.url()).await.unwrap())
        }
    }

    async fn run(&mut self, sql: &'static str) {
        match self {
            Self::Sqlite(conn) => conn.execute(sql).await.map(drop).unwrap(),
            Self::Postgres(conn) => conn.execute(sql).await.map(drop).unwrap(),
        }
    }
}

/// A transaction that began later cannot commit before an earlier one, on either engine.
async fn no_item_is_lost_when_transactions_overlap(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let before = next(&follower.get("").await).to_owned();
    let token = login(&server).await;
    let mut first = Other::open(server.database()).await;
    first.run(if server.database().is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" }).await;
    first.run("UPDATE changes SET revocations = revocations + 1, revocation_mark = 'first'").await;
    first.run("INSERT INTO revocations SELECT 1, 'first', 'token', 'a', created_at, expires_at FROM sessions").await;
    // The second one has to wait. Meanwhile, the feed lists neither.
    let second = tokio::spawn(server.request("POST", "/revoke").form(&Form::of(&[("token", &token)])).send());
    let page = follower.get(&format!("?wait=1&after={before}")).await;
    assert_eq!((kinds(&page), next(&page)), (vec![], before.as_str()));
    assert!(!second.is_finished());
    first.run("COMMIT").await;
    assert_eq!(second.await.unwrap().status, 200);
    let page = follower.get(&format!("?after={before}")).await;
    assert_eq!(kinds(&page), [("token", "a"), ("session", sid(&token).as_str())]);
}

/// Starts another replica on the same database.
async fn replica(server: &TestServer, issuer: &str) -> TestServer {
    let flags = ["--issuer", issuer, "--master-key", MASTER_KEY];
    TestServer::on(server.database().url(), &flags, server.clock.clone()).await.unwrap()
}

async fn other_servers_sync_revocations(database: Database) {
    let server = TestServer::with(database, &["--issuer", "http://id.example"]).await;
    let user = server.create_user("maria", &[]).await;
    let other = replica(&server, "http://id.example").await;
    let token = login(&server).await;
    assert_eq!(other.get("/verify").bearer(&token).send().await.status, 204);
    revoke(&server, &token).await;
    eventually("the session has ended there too", async || {
        other.get("/verify").bearer(&token).send().await.status == 401
    })
    .await;
    let token = login(&server).await;
    server.set_password(&user, "another password").await;
    eventually("the sessions have ended there too", async || {
        other.get("/verify").bearer(&token).send().await.status == 401
    })
    .await;
    // A server that starts later refuses the token from its start on.
    let third = replica(&server, "http://id.example").await;
    third.get("/verify").bearer(&token).send().await.problem(401, "invalid-token");
    // A disabled client is refused there too, although it was cached.
    let login_there = async || other.token(&Form::admin()).send().await.status;
    assert_eq!(login_there().await, 200);
    server.set_client_disabled("default", true).await;
    eventually("the client is disabled there too", async || login_there().await == 401).await;
}

async fn guards_sync_revocations(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let follower = Follower::of(&server).await;
    let clock = server.clock.clone();
    let guard = Guard::from_issuer(server.url())
        .audience(server.url())
        .clock(move || clock.now().timestamp())
        .follow_revocations("service", &follower.secret)
        .build()
        .unwrap();
    let mut took = Vec::new();
    for _ in 0..20 {
        let token = login(&server).await;
        guard.authenticate(&token).await.unwrap();
        revoke(&server, &token).await;
        let since = Instant::now();
        eventually("the guard refuses the token", async || {
            guard.authenticate(&token).await == Err(AuthenticateError::Token(TokenError::Revoked))
        })
        .await;
        took.push(since.elapsed());
    }
    took.sort();
    // For information only: the benchmark measures it.
    println!("refused by the guard after {:?} at the median, {:?} at most", took[took.len() / 2], took[took.len() - 1]);
    assert!(took[0] < RealTime::from_secs(30));
}

async fn a_key_change_ends_long_polls(database: Database) {
    let server = TestServer::start(database).await;
    let follower = Follower::of(&server).await;
    let before = server.get("/revocations").basic("service", &follower.secret).send().await;
    let cursor = next(&before.json_with(200)).to_owned();
    let path = format!("/revocations?wait=30&after={cursor}");
    let waiting = tokio::spawn(server.get(&path).basic("service", &follower.secret).send());
    let rotated = server
        .within(async |app, now| rotate_keys(&app, None, false, &grantd::audit::Origin::system(), now).await.map(drop));
    rotated.await.unwrap();
    let after = waiting.await.unwrap();
    assert_eq!(kinds(&after.json_with(200)), []);
    assert_ne!(after.header("grantd-keys"), before.header("grantd-keys"));
    assert_ne!(next(&after.json_with(200)), cursor);
}
