//! How the server stops: what SIGTERM does to requests under way, to new ones and to idle connections, and the exit code.

use std::time::Duration;

use grantd::config::Timeouts;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, TestServer, eventually, raw},
    tls::{self, connect::Http2},
};

const PASSWORD: (&str, &str) = ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD);
/// No test waits that long.
const LONG: (&str, &str) = ("GRANTD_SHUTDOWN_TIMEOUT", "1h");

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.rsplit('/').next().unwrap()).await.unwrap()
}

/// Begins a login: the server waits for its body.
pub(crate) async fn begin(url: &str) -> TcpStream {
    let mut stream = connect(url).await;
    let length = Form::admin().encode().len();
    let head = "POST /token HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n";
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// Sends the rest of the login, and returns the response.
pub(crate) async fn finish(mut stream: TcpStream) -> String {
    stream.write_all(Form::admin().encode().as_bytes()).await.unwrap();
    rest(stream).await
}

/// Returns what the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut received = String::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_string(&mut received)).await;
    assert!(read.is_ok(), "the connection stays open: {received}");
    received
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Stops the server, and waits until it refuses requests.
pub(crate) async fn terminate(server: &Grantd) {
    server.signal("TERM");
    eventually("it is not ready", async || raw(server.url(), get("/readyz")).await.0 == 503).await;
}

#[actix_web::test]
async fn requests_under_way_are_answered_and_new_ones_are_refused() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &[PASSWORD, LONG]);
    let mut idle = connect(server.url()).await;
    idle.write_all(get("/healthz").as_bytes()).await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    let login = begin(server.url()).await;
    terminate(&server).await;

    // On new connections, and on one that was open.
    for path in ["/readyz", "/healthz", "/users/me", "/.well-known/jwks.json", "/nothing"] {
        let (status, answer) = raw(server.url(), get(path)).await;
        assert_eq!(status, 503, "{path}: {answer}");
        for part in ["\r\nconnection: close\r\n", "\r\nretry-after: 1\r\n", r#""type":"/problems/unavailable""#] {
            assert!(answer.contains(part), "{path}: {answer}");
        }
    }
    idle.write_all(get("/healthz").as_bytes()).await.unwrap();
    let refused = rest(idle).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nconnection: close\r\n"), "{refused}");
    let refused = server.request("POST", "/token").form(&Form::admin()).send().await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.oauth_error(503, "temporarily_unavailable");

    let answer = finish(login).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(server.exit_code().await, Some(0));
}

/// What callers have sent when the signal comes is answered, without a proxy that would repeat it.
#[actix_web::test]
async fn requests_that_were_sent_before_the_signal_are_answered() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &[PASSWORD, LONG]);
    let mut callers = Vec::new();
    for _ in 0..50 {
        let mut caller = connect(server.url()).await;
        caller.write_all(get("/healthz").as_bytes()).await.unwrap();
        assert!(caller.read(&mut [0; 4096]).await.unwrap() > 0);
        callers.push(caller);
    }
    for caller in &mut callers {
        caller.write_all(get("/healthz").as_bytes()).await.unwrap();
    }
    server.signal("TERM");
    for caller in callers {
        let answer = rest(caller).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
    }
    assert!(server.wait().success());
}

#[actix_web::test]
async fn requests_that_take_too_long_are_cut_off() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &[PASSWORD, ("GRANTD_SHUTDOWN_TIMEOUT", "1s")]);
    let (one, other) = (begin(server.url()).await, begin(server.url()).await);
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(1));
    assert!(rest(one).await.is_empty() && rest(other).await.is_empty());
    let (_, log) = server.kill();
    assert!(log.contains("error: 2 requests were cut off") && log.contains("GRANTD_SHUTDOWN_TIMEOUT"), "{log}");
}

#[actix_web::test]
async fn a_second_signal_ends_the_server_at_once() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &[PASSWORD, LONG]);
    let login = begin(server.url()).await;
    terminate(&server).await;
    server.signal("INT");
    assert_eq!(server.exit_code().await, Some(1));
    assert!(rest(login).await.is_empty());
    assert!(server.kill().1.contains("error: stopped by a second signal"));
}

#[actix_web::test]
async fn connections_without_a_request_do_not_delay_the_end() {
    let files = tempfile::tempdir().unwrap();
    let [_, cert, _, key] = tls::flags(files.path(), 0o600);
    for settings in [&[][..], &[("GRANTD_TLS_CERT", &*cert), ("GRANTD_TLS_KEY", &*key)]] {
        let database = Database::sqlite();
        let mut server = Grantd::start(database.url(), &[&[PASSWORD, LONG], settings].concat());
        // A new connection, one with half a head (or half a handshake), and one that has had a response.
        let new = connect(server.url()).await;
        let mut half = connect(server.url()).await;
        half.write_all(b"GET /healthz HT").await.unwrap();
        let (mut used, mut http2) = (None, Vec::new());
        if settings.is_empty() {
            let mut stream = connect(server.url()).await;
            stream.write_all(get("/healthz").as_bytes()).await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            used = Some(stream);
        } else {
            http2 = vec![Http2::to(server.url()).await, Http2::to(server.url()).await];
            assert_eq!(http2[0].get("/healthz").await.status, 200);
        }
        server.signal("TERM");
        assert_eq!(server.exit_code().await, Some(0));
        for connection in http2 {
            let ended = timeout(Duration::from_secs(30), connection.connection).await.unwrap().unwrap();
            assert!(ended.as_ref().err().is_none_or(h2::Error::is_io), "{ended:?}");
        }
        drop((new, half, used));
    }
}

#[actix_web::test]
async fn a_long_poll_ends_at_once() {
    let server = TestServer::with(Database::sqlite(), &["--shutdown-timeout", "1h"]).await;
    let token = server.admin().await;
    let feed = |query: &str| server.get(&format!("/revocations?{query}")).bearer(&token);
    let next = feed("wait=0").send().await.json_with(200)["next"].as_str().unwrap().to_owned();
    let waiting = tokio::spawn(feed(&format!("wait=30&after={next}")).send());
    eventually("the request waits", async || server.app.sync.waiting() > 0).await;
    let cut_off = timeout(Duration::from_secs(20), server.stop_gracefully()).await;
    assert_eq!(cut_off.ok(), Some(0));
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
}

#[actix_web::test]
async fn http_2_callers_are_sent_away_and_refused() {
    let files = tempfile::tempdir().unwrap();
    let [_, cert, _, key] = tls::flags(files.path(), 0o600);
    let settings = [PASSWORD, LONG, ("GRANTD_TLS_CERT", &*cert), ("GRANTD_TLS_KEY", &*key)];
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &settings);
    let http2 = Http2::to(server.url()).await;
    let (login, mut body) = http2.requests.clone().send_request(http2.login(), false).unwrap();
    // The connection keeps the order: the login has begun when this one is answered.
    assert_eq!(http2.get("/healthz").await.status, 200);
    server.signal("TERM");
    eventually("no request may follow", async || http2.requests.clone().ready().await.is_err()).await;
    // A new connection gets a response to its first request.
    let new = Http2::to(server.url()).await;
    let refused = new.get("/readyz").await;
    assert_eq!((refused.status, &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    eventually("no request may follow", async || new.requests.clone().ready().await.is_err()).await;

    body.send_data(Form::admin().encode().into(), true).unwrap();
    assert_eq!(login.await.unwrap().status(), 200);
    assert_eq!(server.exit_code().await, Some(0));
}

/// A limit of time for callers that no test reaches.
const NEVER: Duration = Duration::from_mins(10);
const PATIENT: Timeouts = Timeouts { head: NEVER, body: NEVER, answer: NEVER, idle: NEVER };
const LARGE: &str = "/docs/swagger-ui-bundle.js";

#[actix_web::test]
async fn a_response_that_is_not_taken_is_a_request_under_way() {
    let files = tempfile::tempdir().unwrap();
    let tls = tls::flags(files.path(), 0o600);
    let flags = [&tls.each_ref().map(String::as_str)[..], &["--shutdown-timeout", "1s"]].concat();
    let server = TestServer::with_timeouts(Database::sqlite(), &flags, PATIENT).await;
    // The windows of the streams are closed: only the head arrives.
    let http2 = Http2::with(server.url(), h2::client::Builder::new().initial_window_size(0)).await;
    let request = http2.request("GET", LARGE).body(()).unwrap();
    let (response, _) = http2.requests.clone().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(server.stop_gracefully().await, 1);
    assert!(body.data().await.is_none_or(|part| part.is_err()));
}

#[actix_web::test]
async fn a_response_is_whole_unless_it_counts_as_cut_off() {
    let server = TestServer::with_timeouts(Database::sqlite(), &["--shutdown-timeout", "1s"], PATIENT).await;
    let whole = server.get(LARGE).send().await.body;
    // Far more than the buffers of the system hold.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.url().rsplit('/').next().unwrap().parse().unwrap()).await.unwrap();
    stream.write_all(get(LARGE).repeat(16).as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    let cut_off = server.stop_gracefully().await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    let refused = received.ends_with(b"\"}") && String::from_utf8_lossy(&received).contains("shutting down");
    let end = &whole[whole.len() - 100..];
    assert!(cut_off == 1 || refused || received.ends_with(end), "{} bytes", received.len());
}

#[actix_web::test]
async fn a_start_that_waits_for_its_database_can_be_stopped() {
    // Accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/x", silent.local_addr().unwrap());
    let variables = [("GRANTD_DATABASE_TIMEOUT", "1h"), ("GRANTD_LOG_FORMAT", "json")];
    let starting = std::thread::spawn(move || Grantd::try_start(&url, &["serve"], &variables));
    let (connection, _) = silent.accept().await.unwrap();
    let peer = connection.peer_addr().unwrap().port();
    terminate_owner_of(peer);
    let log = tokio::task::spawn_blocking(|| starting.join().unwrap().err().unwrap()).await.unwrap();
    assert!(log.contains("stopped before the server was ready") && !log.contains("error:"), "{log}");
}

/// Sends SIGTERM to the process of this user that has a connection from this port.
fn terminate_owner_of(port: u16) {
    let local = format!("0100007F:{port:04X}");
    let inode = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&local))?;
        line.split_whitespace().nth(9).map(ToOwned::to_owned)
    };
    // A table that changes while it is read may lack lines.
    let socket = format!("socket:[{}]", (0..100).find_map(|_| inode()).unwrap());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let owns = |id: &String| {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return false };
        let links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.ok()?.path()).ok());
        links.into_iter().any(|link| link.to_str() == Some(&socket))
    };
    let owner = processes.filter(|id| id.parse::<u32>().is_ok()).find(owns).unwrap();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &owner]).status().unwrap().success());
}
