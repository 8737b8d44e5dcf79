//! The load generator: HTTP/1.1 on persistent connections, with one request at a time on each.
//!
//! It shares the cores with the measured server, so it does as little as possible: the bytes of a request are built once, and only
//! status and length of a response are parsed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use crate::{Outcome, plan::Plan};

/// More than the size of any response here.
const BUFFER: usize = 64 * 1024;
/// The timeout of a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// Responses are read in batches at this interval, like the interrupt moderation of a network card. Waking up for each response
/// would preempt the server each time and measure the scheduler; real clients run on other machines.
const GATHERS: Duration = Duration::from_micros(50);

/// Returns a request for a path, with or without a token.
pub(crate) fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    get_with(path, &authorization)
}

/// Returns a request for a path, with header lines.
pub(crate) fn get_with(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n").into_bytes()
}

/// Returns a request with a form and header lines.
pub(crate) fn post(path: &str, headers: &str, form: &str) -> Vec<u8> {
    let length = form.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}");
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    format!("{head}{kind}Content-Length: {length}\r\n\r\n{form}").into_bytes()
}

/// Returns a login by the password grant. The arguments must not need escapes.
pub(crate) fn login(username: &str, password: &str) -> Vec<u8> {
    post("/token", "", &format!("grant_type=password&username={username}&password={password}"))
}

/// A connection that waits for each response.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    /// Sends a request, and returns status and body of the response.
    pub(crate) fn call(&mut self, request: &[u8]) -> Outcome<(u16, &[u8])> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            filled += some(self.stream.read(&mut self.buffer[filled..])?)?;
            if let Some(head) = Head::parse(&self.buffer[..filled])?
                && filled >= head.whole
            {
                return Ok((head.status, &self.buffer[head.length..head.whole]));
            }
        }
    }
}

/// Returns the responses per second if this many clients send a request as soon as the previous one is answered (closed loop). A
/// status other than 200 or 204 ends the benchmark.
pub(crate) fn per_second(address: SocketAddr, request: &[u8], clients: usize, plan: &Plan) -> Outcome<f64> {
    let all = Arc::new(Clients { address, request: request.into(), answered: 0.into(), stop: false.into() });
    // As many threads as the server has: a single one could not keep all cores busy.
    let shares = (0..plan.threads).map(|nth| (clients + nth) / plan.threads);
    let threads: Vec<_> = shares.map(|share| Arc::clone(&all).spawn(share)).collect();
    thread::sleep(plan.warm_up);
    let (began, before) = (Instant::now(), all.answered.load(Ordering::Relaxed));
    thread::sleep(plan.window);
    let (took, after) = (began.elapsed(), all.answered.load(Ordering::Relaxed));
    // Waits for outstanding responses, so that the server is idle for the next measurement.
    all.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "the load generator panicked")??;
    }
    Ok(f64::from(after - before) / took.as_secs_f64())
}

struct Clients {
    address: SocketAddr,
    request: Box<[u8]>,
    answered: AtomicU32,
    stop: AtomicBool,
}

impl Clients {
    /// Runs this many clients on a thread.
    fn spawn(self: Arc<Self>, clients: usize) -> JoinHandle<Outcome<()>> {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(|| thread::sleep(GATHERS))
                .build()?;
            let mut tasks = JoinSet::new();
            runtime.block_on(async {
                (0..clients).for_each(|_| drop(tasks.spawn(Arc::clone(&self).one())));
                while let Some(ended) = tasks.join_next().await {
                    ended??;
                }
                Ok(())
            })
        })
    }

    async fn one(self: Arc<Self>) -> Outcome<()> {
        let mut stream = tokio::net::TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER];
        while !self.stop.load(Ordering::Relaxed) {
            stream.write_all(&self.request).await?;
            let mut filled = 0;
            loop {
                filled += some(stream.read(&mut buffer[filled..]).await?)?;
                match Head::parse(&buffer[..filled])? {
                    Some(head) if !matches!(head.status, 200 | 204) => {
                        return Err(String::from_utf8_lossy(&buffer[..filled]).into());
                    }
                    Some(head) if filled >= head.whole => break,
                    _ => {}
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn some(read: usize) -> Outcome<usize> {
    if read == 0 { Err("the server closed the connection, or its answer is too long".into()) } else { Ok(read) }
}

/// The parsed head of a response.
struct Head {
    status: u16,
    /// The length of the head.
    length: usize,
    /// The length of head and body.
    whole: usize,
}

impl Head {
    /// Parses a head. `None`: it is incomplete. A response without `Content-Length` has no body here.
    fn parse(bytes: &[u8]) -> Outcome<Option<Self>> {
        let (mut length, mut status, mut body) = (0, None, 0);
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[length..=end];
            length = end + 1;
            match line {
                b"\r\n" => {
                    let status = status.ok_or("the answer has no status")?;
                    return Ok(Some(Self { status, length, whole: length + body }));
                }
                [b'H', ..] if status.is_none() => status = line.get(9..12).and_then(number),
                [b'c' | b'C', rest @ ..] if is_content_length(rest) => {
                    body = number(line[15..].trim_ascii()).ok_or("the answer's length is no number")?;
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

fn is_content_length(rest: &[u8]) -> bool {
    rest.get(..14).is_some_and(|name| name.eq_ignore_ascii_case(b"ontent-length:"))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
