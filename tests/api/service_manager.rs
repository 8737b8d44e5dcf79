//! What a service manager such as systemd relies on: messages (`sd_notify`), the watchdog, and sockets that it has opened.

use std::{
    net::{TcpListener, UdpSocket},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use crate::{
    harness::{ADMIN_PASSWORD, Database, Grantd, eventually, raw},
    stop,
};

const PASSWORD: (&str, &str) = ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD);

/// What the server sends to the manager.
struct Manager {
    socket: UnixDatagram,
    _directory: tempfile::TempDir,
    name: String,
}

impl Manager {
    fn at_path() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::of(socket, directory, path.display().to_string())
    }

    fn at_abstract_name() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().display().to_string();
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self::of(socket, directory, format!("@{name}"))
    }

    fn of(socket: UnixDatagram, directory: tempfile::TempDir, name: String) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, _directory: directory, name }
    }

    /// Returns the next message.
    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[actix_web::test]
async fn the_manager_is_told_each_change() {
    for manager in [Manager::at_path(), Manager::at_abstract_name()] {
        let database = Database::sqlite();
        let mut server = Grantd::start(database.url(), &[PASSWORD, ("NOTIFY_SOCKET", &manager.name)]);
        let ready = format!("READY=1\nSTATUS=listening on {}", server.url());
        assert_eq!(manager.next(), ready);
        server.signal("HUP");
        let reloading = manager.next();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().is_ok(), "{reloading}");
        assert_eq!(manager.next(), ready);
        server.signal("TERM");
        assert!(manager.next().starts_with("STOPPING=1\nSTATUS="));
        assert_eq!(server.exit_code().await, Some(0));
    }
}

#[actix_web::test]
async fn the_watchdog_hears_of_a_healthy_server() {
    let manager = Manager::at_path();
    let watched = [PASSWORD, ("NOTIFY_SOCKET", &*manager.name), ("WATCHDOG_USEC", "100000")];
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &watched);
    assert!(manager.next().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // Also while a request keeps the server from stopping.
    let login = stop::begin(server.url()).await;
    stop::terminate(&server).await;
    eventually("it stops", async || manager.next().starts_with("STOPPING=1")).await;
    assert_eq!(manager.next(), "WATCHDOG=1");
    let answer = stop::finish(login).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.exit_code().await, Some(0));
}

#[actix_web::test]
async fn a_watchdog_of_another_process_hears_nothing() {
    let manager = Manager::at_path();
    let other = [PASSWORD, ("NOTIFY_SOCKET", &*manager.name), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &other);
    assert!(manager.next().starts_with("READY=1\n"));
    server.login(ADMIN_PASSWORD).await;
    server.signal("TERM");
    assert!(manager.next().starts_with("STOPPING=1\n"));
    assert_eq!(server.exit_code().await, Some(0));
}

#[actix_web::test]
async fn a_missing_manager_stops_nothing() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &[PASSWORD, ("NOTIFY_SOCKET", "/nowhere/notify")]);
    server.login(ADMIN_PASSWORD).await;
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    assert!(server.kill().1.contains("NOTIFY_SOCKET cannot be used"));
}

fn copy(socket: &TcpListener) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

#[actix_web::test]
async fn a_server_answers_on_the_socket_that_it_was_given() {
    let database = Database::sqlite();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let variables = [PASSWORD, ("GRANTD_LISTEN", "127.0.0.1:1")];
    let mut first = Grantd::on_socket(copy(&socket), database.url(), &variables).unwrap();
    assert_eq!(first.url(), url);
    first.login(ADMIN_PASSWORD).await;
    first.signal("TERM");
    assert_eq!(first.exit_code().await, Some(0));
    // Who calls between two servers waits for the second one.
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { raw(&url, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.0 }
    });
    let second = Grantd::on_socket(copy(&socket), database.url(), &variables).unwrap();
    assert_eq!((waiting.await.unwrap(), second.url()), (200, &*url));
    assert!(second.kill().1.contains("GRANTD_LISTEN is not used"));
}

#[actix_web::test]
async fn a_socket_is_checked_like_an_address() {
    let database = Database::sqlite();
    let refused = |socket: OwnedFd| Grantd::on_socket(socket, database.url(), &[]).err().unwrap();
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let why = refused(public.into());
    assert!(why.contains("GRANTD_LISTEN") && why.contains("0.0.0.0") && why.contains("GRANTD_ISSUER"), "{why}");
    let why = refused(UdpSocket::bind("127.0.0.1:0").unwrap().into());
    assert!(why.contains("LISTEN_FDS") && why.contains("tcp socket"), "{why}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let why = refused(connection.into());
    assert!(why.contains("LISTEN_FDS") && why.contains("Accept=no"), "{why}");
}
