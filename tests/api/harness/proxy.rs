//! A TCP proxy to Postgres, with network failures that a test controls.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use sqlx::postgres::PgConnectOptions;

/// A proxy that forwards connections to the server of a URL. It has threads of its own, since the runtime of a test may
/// be blocked while it waits for the database.
pub(crate) struct Proxy {
    url: String,
    line: Arc<Mutex<Line>>,
}

/// The state of the proxy, with both ends of each connection. TCP and Unix sockets are read, written and shut down by the
/// same system calls, so one type is used for both.
#[derive(Default)]
struct Line {
    state: State,
    /// The number of connections so far, and how many of the first of them forward nothing any more.
    made: usize,
    mute: usize,
    ends: Vec<UnixStream>,
}

/// The treatment of connections.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    /// All connections are closed, old and new.
    Cut,
    /// Connections stay open and forward nothing, as in a network that drops all packets.
    Silent,
}

impl Proxy {
    /// Starts a proxy to the database of this URL.
    pub(crate) fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: PgConnectOptions = url.parse().unwrap();
        let database = target.get_database().unwrap().to_owned();
        let login = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'));
        let login = login.map_or_else(|| target.get_username().to_owned(), |(login, _)| login.to_owned());
        let line = Arc::new(Mutex::new(Line::default()));
        let of_thread = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // If the server is unreachable, the client sees a closed connection.
                let _ = forward(client, &target, &of_thread);
            }
        });
        let url = format!("postgres://{login}@127.0.0.1:{port}/{database}?sslmode=disable");
        Self { url, line }
    }

    /// Returns the URL of the database through this proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Closes all connections, old and new.
    pub(crate) fn cut(&self) {
        self.change(State::Cut);
    }

    /// Drops all data from now on, and keeps connections open.
    pub(crate) fn silence(&self) {
        lock(&self.line).state = State::Silent;
    }

    /// Forwards only new connections, as if the address had moved to another machine: the old ones stay open and never
    /// get any data again.
    pub(crate) fn abandon(&self) {
        let mut line = lock(&self.line);
        line.state = State::Whole;
        line.mute = line.made;
    }

    /// Closes the old connections, and forwards new ones.
    pub(crate) fn restore(&self) {
        self.change(State::Whole);
    }

    fn change(&self, state: State) {
        let mut line = lock(&self.line);
        line.state = state;
        for end in line.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forward(client: TcpStream, target: &PgConnectOptions, line: &Arc<Mutex<Line>>) -> io::Result<()> {
    let server = match target.get_socket() {
        Some(directory) => UnixStream::connect(directory.join(format!(".s.PGSQL.{}", target.get_port())))?,
        None => OwnedFd::from(TcpStream::connect((target.get_host(), target.get_port()))?).into(),
    };
    let client = UnixStream::from(OwnedFd::from(client));
    let mut all = lock(line);
    if all.state == State::Cut {
        return Ok(());
    }
    let number = all.made;
    all.made += 1;
    all.ends.extend([client.try_clone()?, server.try_clone()?]);
    drop(all);
    pump(number, client.try_clone()?, server.try_clone()?, line);
    pump(number, server, client, line);
    Ok(())
}

/// Copies one direction until either end is closed, then closes the other. While the proxy is silent, it discards the
/// data.
fn pump(number: usize, mut from: UnixStream, mut to: UnixStream, line: &Arc<Mutex<Line>>) {
    let line = Arc::clone(line);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let swallowed = {
                let line = lock(&line);
                line.state == State::Silent || number < line.mute
            };
            if !swallowed && to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
