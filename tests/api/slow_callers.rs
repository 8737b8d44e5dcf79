//! Callers that take too long: to send a head or a body, to take a response. The limits are shorter than in operation.

use std::time::Duration;

use grantd::config::Timeouts;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    harness::{Database, Form, TestServer},
    tls,
};

const SHORT: Duration = Duration::from_millis(500);
/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
const LONGEST: Timeouts = Timeouts { head: LONG, body: LONG, answer: LONG, idle: LONG };

async fn server(timeouts: Timeouts) -> TestServer {
    TestServer::with_timeouts(Database::sqlite(), &[], timeouts).await
}

async fn connect(server: &TestServer) -> TcpStream {
    let address = server.url().rsplit('/').next().unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Sends a byte from time to time, until the server closes the connection. Returns what the server has sent.
async fn trickle(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let closed = timeout(Duration::from_mins(1), async {
        loop {
            let mut buffer = [0; 1024];
            match timeout(SHORT / 10, stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(length)) => received.extend_from_slice(&buffer[..length]),
                // A closed connection is noticed by the next read.
                Err(_) => drop(stream.write_all(b"x").await),
            }
        }
    });
    assert!(closed.await.is_ok(), "the connection was not closed");
    String::from_utf8(received).unwrap()
}

/// Sends a request, and reads the head of the response and its body of this length.
async fn answered(stream: &mut TcpStream, request: &str, body: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = String::new();
    while !received.ends_with(body) {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{received}");
        received.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = r#"{"status":"ok"}"#;

#[actix_web::test]
async fn a_head_must_arrive_in_time() {
    // Long enough for the requests in between, on a machine with other work.
    let head = SHORT * 4;
    let server = server(Timeouts { head, ..LONGEST }).await;
    let nothing = async { assert!(trickle(connect(&server).await).await.starts_with("HTTP/1.1 408 ")) };
    let first = async {
        let mut first = connect(&server).await;
        first.write_all(b"GET /healthz HTTP/1.1\r\nX: ").await.unwrap();
        assert!(trickle(first).await.starts_with("HTTP/1.1 408 "));
    };
    // Later ones on a connection too, whether or not the first bytes came with the request before.
    let later = async |begin: &str, rest: &str| {
        let mut later = connect(&server).await;
        answered(&mut later, &format!("{HEALTHZ}{begin}"), OK).await;
        later.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(trickle(later).await, "");
    };
    let later =
        async { tokio::join!(later("", "GET /healthz HTTP/1.1\r\nX: "), later("GET /he", "althz HTTP/1.1\r\nX: ")) };
    // Waiting between requests is none of this.
    let waiting = async {
        let mut waiting = connect(&server).await;
        answered(&mut waiting, HEALTHZ, OK).await;
        tokio::time::sleep(head * 2).await;
        answered(&mut waiting, HEALTHZ, OK).await;
    };
    tokio::join!(nothing, first, later, waiting);
}

#[actix_web::test]
async fn a_body_must_arrive_in_time() {
    let server = server(Timeouts { body: SHORT, ..LONGEST }).await;
    let form = "application/x-www-form-urlencoded";
    for (path, content_type) in [("/token", form), ("/users/me/password", "application/json")] {
        let token = server.admin().await;
        let method = if path == "/token" { "POST" } else { "PUT" };
        let mut stream = connect(&server).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\n\
             Content-Length: 1000\r\n\r\n{{"
        );
        let head =
            if path == "/token" { head.replace(&format!("Authorization: Bearer {token}\r\n"), "") } else { head };
        stream.write_all(head.as_bytes()).await.unwrap();
        let received = trickle(stream).await;
        assert!(received.starts_with("HTTP/1.1 408 "), "{path}: {received}");
    }
}

#[actix_web::test]
async fn a_body_that_nobody_reads_must_end_in_time() {
    let server = server(Timeouts { head: SHORT, ..LONGEST }).await;
    for length in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        for begin in ["", "3e8\r\n", "3e8\r\nabc"] {
            let head = format!("POST /healthz HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n{begin}");
            let mut slow = connect(&server).await;
            slow.write_all(head.as_bytes()).await.unwrap();
            let received = trickle(slow).await;
            assert!(received.starts_with("HTTP/1.1 405 "), "{length}: {received}");
            // Also a caller that sends nothing more.
            let mut silent = connect(&server).await;
            silent.write_all(head.as_bytes()).await.unwrap();
            let mut received = String::new();
            let ended = timeout(Duration::from_mins(1), silent.read_to_string(&mut received)).await;
            assert!(ended.is_ok() && received.starts_with("HTTP/1.1 405 "), "{length}: {received}");
        }
    }
}

#[actix_web::test]
async fn an_idle_connection_is_closed() {
    let server = server(Timeouts { idle: SHORT, ..LONGEST }).await;
    let mut stream = connect(&server).await;
    answered(&mut stream, HEALTHZ, OK).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

/// A large file of the server.
const LARGE: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n";
/// So many that no buffer of the system holds their responses.
const MANY: usize = 16;

/// Connects with a small receive buffer, and sends this many requests at once.
async fn greedy(server: &TestServer, requests: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = server.url().rsplit('/').next().unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(LARGE.repeat(requests).as_bytes()).await.unwrap();
    stream
}

/// Reads until the connection ends, or all responses are there. Returns the number of bytes.
async fn read_all(mut stream: TcpStream, expected: usize) -> usize {
    let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
    while received < expected {
        match timeout(Duration::from_mins(1), stream.read(&mut buffer)).await.expect("the connection hangs") {
            Ok(0) | Err(_) => break,
            Ok(length) => received += length,
        }
    }
    received
}

#[actix_web::test]
async fn a_response_must_be_taken_in_time() {
    let server = server(Timeouts { answer: SHORT, ..LONGEST }).await;
    // Who reads gets everything. (On a busy machine, not within the short limit.)
    let patient = self::server(LONGEST).await;
    let one = patient.get("/docs/swagger-ui-bundle.js").send().await.body.len();
    assert!(read_all(greedy(&patient, MANY).await, one * MANY).await >= one * MANY);
    // Who does not read loses the connection, even if one response fits into the buffers of the system.
    for requests in [1, MANY] {
        let stream = greedy(&server, requests).await;
        tokio::time::sleep(SHORT * 8).await;
        let (received, all) = (read_all(stream, one * requests).await, one * requests);
        assert!(received < all, "{received} of {all}");
    }
    // Nor may a caller take the response bit by bit.
    let mut stream = greedy(&server, MANY).await;
    let slowly = async {
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {
            tokio::time::sleep(SHORT / 50).await;
        }
    };
    let ended = timeout(Duration::from_mins(2), slowly).await;
    assert!(ended.is_ok(), "the connection was not closed");
}

/// Lets this process open enough files for both ends of a thousand connections.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Opens many connections, which send a byte from time to time, while other callers are answered.
async fn slow_callers_harm_nobody(server: TestServer, bytes: [u8; 5]) {
    raise_open_files();
    let mut slow = Vec::new();
    for _ in 0..1000 {
        slow.push(connect(&server).await);
    }
    for byte in bytes {
        for stream in &mut slow {
            // The first ones may have exceeded the limit already.
            let _ = stream.write_all(&[byte]).await;
        }
        for _ in 0..20 {
            assert_eq!(server.get("/healthz").send().await.status, 200);
        }
        assert_eq!(server.token(&Form::admin()).send().await.status, 200);
    }
}

#[actix_web::test]
async fn a_thousand_slow_callers_harm_nobody() {
    slow_callers_harm_nobody(server(Timeouts::default()).await, *b"GET /").await;
}

#[actix_web::test]
async fn a_thousand_slow_handshakes_harm_nobody() {
    let (server, _files) = tls::server(&[]).await;
    // The begin of a record of 256 bytes.
    slow_callers_harm_nobody(server, [22, 3, 1, 1, 0]).await;
}

#[actix_web::test]
async fn a_tls_handshake_must_end_in_time() {
    let files = tempfile::tempdir().unwrap();
    let flags = tls::flags(files.path(), 0o600);
    let flags = flags.each_ref().map(String::as_str);
    let server = TestServer::with_timeouts(Database::sqlite(), &flags, Timeouts { head: SHORT, ..LONGEST }).await;
    // The begin of a record, which the server waits for.
    let mut stream = connect(&server).await;
    stream.write_all(&[22, 3, 1, 1, 0, 1, 0, 0]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
