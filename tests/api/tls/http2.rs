//! HTTP/2: what is the same as over HTTP/1.1, and what bounds a connection.

use std::time::Duration;

use actix_web::web::Bytes;
use h2::{Reason, client};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    connect::{Http2, Response},
    server,
};
use crate::{
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, TestServer, eventually},
    hash_queue::occupy,
};

/// As many streams as a connection may have.
const MAX_STREAMS: usize = 128;

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[actix_web::test]
async fn requests_are_answered_as_over_http_1() {
    let (server, _files) = server(&[]).await;
    let http2 = Http2::to(server.url()).await;
    let login = http2.send(http2.login(), Form::admin().encode()).await.unwrap();
    assert_eq!(login.status, 200, "{login:?}");
    let token = json(&login)["access_token"].as_str().unwrap().to_owned();
    let me = http2.request("GET", "/users/me").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let me = http2.send(me, "").await.unwrap();
    assert_eq!(json(&me)["username"], "admin");
    // The same header, but for fields of the connection, and the time.
    let over_http1 = server.get("/users/me").bearer(&token).send().await;
    let names = |headers: &http::HeaderMap| {
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&me.headers), names(&over_http1.headers));
    assert_eq!(me.headers["strict-transport-security"], "max-age=31536000");
    assert_eq!(me.headers["date"], "Sat, 31 Jan 2026 12:00:00 GMT");
    assert_eq!(me.headers["content-length"], me.body.len().to_string());

    let head = http2.send(http2.request("HEAD", "/healthz").body(()).unwrap(), "").await.unwrap();
    let get = http2.get("/healthz").await;
    assert_eq!((head.status, &head.headers["content-length"]), (200, &get.headers["content-length"]));
    assert!(head.body.is_empty());
    assert_eq!(http2.get("/nothing").await.status, 404);
    let wrong = http2.send(http2.request("DELETE", "/healthz").body(()).unwrap(), "").await.unwrap();
    assert_eq!((wrong.status, &wrong.headers["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    // A large response needs more than one window.
    let page = http2.get("/openapi.json").await;
    assert!(page.body.len() > 65_535 && json(&page)["openapi"] == "3.1.0");
}

#[actix_web::test]
async fn heads_and_bodies_have_their_limits() {
    let (server, _files) = server(&[]).await;
    let http2 = Http2::to(server.url()).await;
    let healthz = async |bytes: usize, fields: usize| {
        let request = http2.request("GET", "/healthz").header("x-filler", "x".repeat(bytes));
        let request = (0..fields).fold(request, |request, n| request.header(format!("x-{n}"), "x"));
        http2.send(request.body(()).unwrap(), "").await.unwrap()
    };
    assert_eq!(healthz(15 * 1024, 1).await.status, 200);
    let refused = healthz(17 * 1024, 1).await;
    assert_eq!((refused.status, &json(&refused)["type"]), (431, &"/problems/head-too-large".into()));
    assert_eq!(healthz(40 * 1024, 1).await.status, 431);
    assert_eq!(healthz(1, 90).await.status, 200);
    assert_eq!(healthz(1, 97).await.status, 431);
    let large = http2.send(http2.login(), "x".repeat(17 * 1024)).await.unwrap();
    assert_eq!((large.status, &json(&large)["error"]), (413, &"invalid_request".into()));
    // None of that ended the connection; a much larger head does.
    assert_eq!(http2.get("/healthz").await.status, 200);
    let head = http2.request("GET", "/healthz").header("x-filler", "x".repeat(300 * 1024)).body(()).unwrap();
    assert!(http2.send(head, "").await.is_err());
    is_closed_for_flood(http2).await;
}

/// Starts a server whose only hash thread is busy for some seconds.
async fn busy(flags: &[&str]) -> (TestServer, tempfile::TempDir, tokio::task::JoinHandle<crate::harness::Answer>) {
    let flags = [&["--hash-queue", "1000", "--hash-wait", "60s", "--login-failures", "off"], flags].concat();
    let flags = [&flags[..], &["--network-failures", "off"]].concat();
    let (server, files) = server(&flags).await;
    let slow = occupy(&server).await;
    (server, files, slow)
}

/// The login of a user who does not exist, each another one.
fn stranger(number: usize) -> Bytes {
    Form::password(&format!("nobody{number}"), "wrong").encode().into()
}

#[actix_web::test]
async fn a_thousand_streams_of_a_connection_wait_for_each_other_and_for_nobody_else() {
    let (server, _files, slow) = busy(&[]).await;
    let hashes = server.app.passwords.hashes_run();
    let http2 = std::sync::Arc::new(Http2::to(server.url()).await);
    assert_eq!(http2.get("/healthz").await.status, 200);
    assert_eq!(http2.requests.current_max_send_streams(), MAX_STREAMS);
    let mut streams = JoinSet::new();
    for number in 0..1000 {
        let http2 = std::sync::Arc::clone(&http2);
        streams.spawn(async move { http2.send(http2.login(), stranger(number)).await });
    }
    eventually("as many wait as may", async || server.app.passwords.waiting() == MAX_STREAMS).await;
    for _ in 0..50 {
        assert_eq!(server.get("/healthz").send().await.status, 200);
    }
    assert!(!slow.is_finished() && server.app.passwords.waiting() == MAX_STREAMS);
    // The caller goes away, and all that waited with it.
    drop(streams);
    http2.connection.abort();
    let last = tokio::spawn(server.token(&Form::admin()).send());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    assert_eq!(last.await.unwrap().status, 200);
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1, "only the last one was hashed");
}

#[actix_web::test]
async fn the_password_of_a_reset_stream_is_not_hashed() {
    let (server, _files, slow) = busy(&[]).await;
    let hashes = server.app.passwords.hashes_run();
    let http2 = Http2::to(server.url()).await;
    let (_response, mut stream) = http2.requests.clone().send_request(http2.login(), false).unwrap();
    stream.send_data(stranger(0), true).unwrap();
    eventually("it waits", async || server.app.passwords.waiting() == 1).await;
    stream.send_reset(Reason::CANCEL);
    // The reset has arrived before this request: the connection keeps their order.
    assert_eq!(http2.get("/healthz").await.status, 200);
    let last = http2.send(http2.login(), Form::admin().encode());
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    assert_eq!(last.await.unwrap().status, 200);
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1);
}

/// Waits until the server closes the connection. The reason may not arrive: the system drops it if the caller is still sending.
async fn is_closed_for_flood(http2: Http2) {
    let ended = tokio::time::timeout(Duration::from_secs(30), http2.connection).await;
    let error = ended.expect("the server closes the connection").unwrap().unwrap_err();
    assert!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM) || error.is_io(), "{error:?}");
}

#[actix_web::test]
async fn a_flood_of_resets_ends_the_connection() {
    let (server, _files, slow) = busy(&[]).await;
    // Each request has begun when it is reset.
    let http2 = Http2::to(server.url()).await;
    let mut resets = 0;
    while resets < 1000 {
        let Ok(mut requests) = http2.requests.clone().ready().await else { break };
        let Ok((_response, mut stream)) = requests.send_request(http2.login(), false) else { break };
        let waiting = server.app.passwords.waiting();
        if stream.send_data(stranger(resets), true).is_err() {
            break;
        }
        eventually("it waits, or the connection is closed", async || {
            server.app.passwords.waiting() > waiting || http2.connection.is_finished()
        })
        .await;
        stream.send_reset(Reason::CANCEL);
        resets += 1;
    }
    assert!((100..200).contains(&resets), "{resets}");
    is_closed_for_flood(http2).await;

    // Nothing waits between request and reset.
    let http2 = Http2::to(server.url()).await;
    for _ in 0..1000 {
        let Ok(mut requests) = http2.requests.clone().ready().await else { break };
        let Ok((_response, mut stream)) = requests.send_request(http2.login(), false) else { break };
        stream.send_reset(Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    is_closed_for_flood(http2).await;
    // Others are not affected, and nothing of it was hashed.
    assert_eq!(server.get("/healthz").send().await.status, 200);
    let hashes = server.app.passwords.hashes_run();
    slow.await.unwrap().oauth_error(400, "invalid_grant");
    server.login("admin", ADMIN_PASSWORD).await;
    assert_eq!(server.app.passwords.hashes_run(), hashes + 1);
}

#[actix_web::test]
async fn callers_may_reset_some_of_their_requests() {
    let (server, _files) = server(&[]).await;
    let http2 = Http2::to(server.url()).await;
    for _ in 0..300 {
        let (_response, mut stream) = http2.requests.clone().send_request(http2.login(), false).unwrap();
        // The server has begun the request when this one is answered.
        assert_eq!(http2.get("/healthz").await.status, 200);
        stream.send_reset(Reason::CANCEL);
    }
    assert_eq!(http2.get("/healthz").await.status, 200);
}

#[actix_web::test]
async fn a_response_that_is_not_taken_is_dropped() {
    let files = tempfile::tempdir().unwrap();
    let tls = super::flags(files.path(), 0o600);
    let timeouts =
        grantd::config::Timeouts { answer: Duration::from_millis(500), ..grantd::config::Timeouts::default() };
    let database = Database::sqlite();
    let server = TestServer::with_timeouts(database, &tls.each_ref().map(String::as_str), timeouts).await;
    // The window of each stream is closed.
    let mut builder = client::Builder::new();
    builder.initial_window_size(0);
    let http2 = Http2::with(server.url(), &builder).await;
    let request = http2.request("GET", "/openapi.json").body(()).unwrap();
    let (response, _) = http2.requests.clone().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    // The connection goes on.
    let head = http2.send(http2.request("HEAD", "/healthz").body(()).unwrap(), "").await.unwrap();
    assert_eq!(head.status, 200);
}

#[actix_web::test]
async fn a_request_in_progress_is_answered_before_the_server_stops() {
    let (database, files) = (Database::sqlite(), tempfile::tempdir().unwrap());
    let [_, cert, _, key] = super::flags(files.path(), 0o600);
    let slow = [
        ("GRANTD_TLS_CERT", cert.as_str()),
        ("GRANTD_TLS_KEY", key.as_str()),
        ("GRANTD_HASH_MEMORY", "64MiB"),
        ("GRANTD_HASH_ITERATIONS", "4"),
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
    ];
    let mut server = Grantd::start(database.url(), &slow);
    let http2 = Http2::to(server.url()).await;
    let login = http2.send(http2.login(), Form::admin().encode());
    let stop = async {
        // The connection keeps the order: the login has begun when this one is answered.
        assert_eq!(http2.get("/healthz").await.status, 200);
        server.signal("TERM");
    };
    let (login, ()) = tokio::join!(login, stop);
    assert_eq!(login.unwrap().status, 200);
    assert_eq!(server.wait().code(), Some(0));
}

#[actix_web::test]
async fn an_idle_connection_is_closed() {
    let files = tempfile::tempdir().unwrap();
    let tls = super::flags(files.path(), 0o600);
    let timeouts = grantd::config::Timeouts { idle: Duration::from_millis(200), ..grantd::config::Timeouts::default() };
    let database = Database::sqlite();
    let server = TestServer::with_timeouts(database, &tls.each_ref().map(String::as_str), timeouts).await;
    let http2 = Http2::to(server.url()).await;
    assert_eq!(http2.get("/healthz").await.status, 200);
    // Without an error, unless the client itself fails to say that it closes the connection too.
    let end = tokio::time::timeout(Duration::from_secs(30), http2.connection).await.unwrap().unwrap();
    assert!(end.as_ref().err().is_none_or(h2::Error::is_io), "{end:?}");
}
