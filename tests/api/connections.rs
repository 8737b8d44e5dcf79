//! The limit of simultaneous connections of a network.

use std::{net::SocketAddr, sync::atomic::Ordering};

use grantd::clock::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{Database, TestServer, beginning, config, eventually};

const MOST: u32 = 4;

/// Starts a server that allows this many connections.
async fn start(database: &Database, flags: &[&str]) -> TestServer {
    let mut config = config(database.url(), flags).unwrap();
    config.throttle.connections = MOST;
    TestServer::of(config, Clock::manual(beginning())).await.unwrap()
}

/// Opens a connection from an address of this machine, and returns it if the server answers on it.
async fn open(server: &TestServer, from: &str) -> Option<TcpStream> {
    let address: SocketAddr = server.url().trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    answers(&mut stream).await.then_some(stream)
}

/// Returns whether a request on the connection gets a response. A closed one ends or is reset.
async fn answers(stream: &mut TcpStream) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut status = [0; 12];
    stream.write_all(request).await.is_ok()
        && stream.read_exact(&mut status).await.is_ok()
        && status == *b"HTTP/1.1 200"
}

#[actix_web::test]
async fn a_network_cannot_take_all_connections() {
    let database = Database::sqlite();
    let server = start(&database, &["--rate-limit-exempt", "none", "--rate-limit", "off"]).await;
    let mut open_ones = Vec::new();
    for _ in 0..MOST {
        open_ones.push(open(&server, "127.0.0.1").await.unwrap());
    }
    for _ in 0..3 {
        assert!(open(&server, "127.0.0.1").await.is_none());
    }
    assert_eq!(server.app.limits.refused.connections.load(Ordering::Relaxed), 3);
    // Another network has its own.
    assert!(open(&server, "127.0.0.2").await.is_some());
    // A closed one makes room for another.
    drop(open_ones.pop());
    eventually("the connection is counted no more", async || open(&server, "127.0.0.1").await.is_some()).await;
}

#[actix_web::test]
async fn exempt_networks_and_trusted_proxies_have_any_number_of_connections() {
    for flags in [&[][..], &["--rate-limit-exempt", "none", "--trusted-proxies", "127.0.0.1"]] {
        let database = Database::sqlite();
        let server = start(&database, flags).await;
        let mut open_ones = Vec::new();
        for _ in 0..2 * MOST {
            open_ones.push(open(&server, "127.0.0.1").await.expect("an unlimited network"));
        }
        assert_eq!(server.app.limits.refused.connections.load(Ordering::Relaxed), 0);
    }
}

#[actix_web::test]
async fn connections_over_tls_are_counted_too() {
    let (database, files) = (Database::sqlite(), tempfile::tempdir().unwrap());
    let flags = crate::tls::flags(files.path(), 0o600);
    let flags = flags.each_ref().map(String::as_str);
    let server = start(&database, &[&flags[..], &["--rate-limit-exempt", "none"]].concat()).await;
    // Each client keeps its connection.
    let mut clients = Vec::new();
    for number in 0..=MOST {
        let client = crate::harness::http_client();
        let answer = client.get(format!("{}/healthz", server.url())).send().await;
        assert_eq!(answer.is_ok(), number < MOST, "connection {number}: {answer:?}");
        clients.push(client);
    }
    drop(clients);
    eventually("the connections are counted no more", async || server.get("/healthz").try_send().await.is_ok()).await;
}
