//! A line to Postgres that a test can cut.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use sqlx::postgres::PgConnectOptions;

/// Forwards connections to the server that a URL names. In threads of its own, since a test may be waiting for what runs
/// over it.
pub(crate) struct Proxy {
    url: String,
    line: Arc<Mutex<Line>>,
}

/// Both ends of each connection. A TCP socket is read, written and shut down by the same system calls as a Unix one, so
/// that one type does for both.
#[derive(Default)]
struct Line {
    state: State,
    /// How many connections there were so far, and how many of the first of them stay mute for ever.
    made: usize,
    mute: usize,
    ends: Vec<UnixStream>,
}

/// What happens to connections.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    /// They are closed, the old ones and the new ones.
    Cut,
    /// They stay open and nothing comes through, as when a network swallows packets.
    Silent,
}

impl Proxy {
    /// Between a test and the database of this URL.
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
                // A server that is away is what a client of this proxy will see, too.
                let _ = forward(client, &target, &of_thread);
            }
        });
        let url = format!("postgres://{login}@127.0.0.1:{port}/{database}?sslmode=disable");
        Self { url, line }
    }

    /// The database's URL through this proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Closes every connection, and the ones to come.
    pub(crate) fn cut(&self) {
        self.change(State::Cut);
    }

    /// Swallows everything from now on.
    pub(crate) fn silence(&self) {
        lock(&self.line).state = State::Silent;
    }

    /// Forwards connections to come, as when an address moves to another machine: nobody ends those that are there, and
    /// nothing comes through them ever again.
    pub(crate) fn abandon(&self) {
        let mut line = lock(&self.line);
        line.state = State::Whole;
        line.mute = line.made;
    }

    /// Closes what there is, and forwards what comes from now on.
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

/// Copies one direction until either end is closed, then closes the other. While the line is silent, what comes is
/// thrown away.
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
