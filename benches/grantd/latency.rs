//! Response times: at a fixed rate, one request at a time, and during a flood of logins.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Outcome, load::Connection};

/// Enough that one is free whenever a request is due, unless the server stalls.
const CONNECTIONS: usize = 32;

/// Returns the response times of requests at a fixed rate, regardless of earlier responses (open loop).
///
/// The time counts from when a request was due, not from when it was sent: a server that stalls for a second has delayed all
/// requests of that second. Blocking threads are more precise than timers of milliseconds.
pub(crate) fn at_rate(
    address: SocketAddr,
    request: &[u8],
    per_second: u32,
    duration: Duration,
) -> Outcome<Vec<Duration>> {
    let (interval, next) = (Duration::from_secs(1) / per_second, AtomicU32::new(0));
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(address)).collect::<Outcome<Vec<_>>>()?;
    let began = Instant::now() + interval;
    let one = |connection: &mut Connection| {
        let mut took = Vec::new();
        loop {
            let due = interval * next.fetch_add(1, Ordering::Relaxed);
            if due >= duration {
                return Ok(took);
            }
            thread::sleep((began + due).saturating_duration_since(Instant::now()));
            expect(200, connection.call(request)?)?;
            took.push((began + due).elapsed());
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = connections.iter_mut().map(|connection| scope.spawn(|| one(connection))).collect();
        let each = threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked")?);
        Ok(each.collect::<Outcome<Vec<_>>>()?.concat())
    })
}

/// Returns the response time of a single request.
pub(crate) fn of_one(connection: &mut Connection, request: &[u8], status: u16) -> Outcome<Duration> {
    let began = Instant::now();
    expect(status, connection.call(request)?)?;
    Ok(began.elapsed())
}

pub(crate) fn expect(status: u16, answer: (u16, &[u8])) -> Outcome<()> {
    let (found, body) = answer;
    if found == status {
        return Ok(());
    }
    Err(format!("the answer is {found} and not {status}: {}", String::from_utf8_lossy(body)).into())
}

/// Clients that send a request as soon as the previous one is answered, until they are stopped.
pub(crate) struct Flood {
    began: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome<BTreeMap<u16, u32>>>>,
}

impl Flood {
    /// Starts clients that all send the same request.
    pub(crate) fn start(address: SocketAddr, request: &[u8], clients: usize) -> Self {
        Self::of(address, &[request.to_vec()], clients, Duration::ZERO)
    }

    /// Starts clients that send these requests in turns, each from another one on, with a pause after each response.
    pub(crate) fn of(address: SocketAddr, requests: &[Vec<u8>], clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |nth: usize| {
            let (stop, requests) = (Arc::clone(&stop), requests.to_vec());
            thread::spawn(move || {
                let (mut connection, mut answers) = (Connection::open(address)?, BTreeMap::new());
                for request in requests.iter().cycle().skip(nth * requests.len() / clients) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // After a refusal of an unread body, the server closes the connection.
                    let Ok((status, _)) = connection.call(request) else {
                        connection = Connection::open(address)?;
                        continue;
                    };
                    *answers.entry(status).or_insert(0) += 1;
                    thread::sleep(pause);
                }
                Ok(answers)
            })
        };
        let clients = (0..clients).map(one).collect();
        Self { began: Instant::now(), stop, clients }
    }

    /// Waits for outstanding responses, and returns the number of responses per second, by status.
    pub(crate) fn stop(self) -> Outcome<BTreeMap<u16, f64>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum: BTreeMap<u16, f64> = BTreeMap::new();
        for client in self.clients {
            for (status, answers) in client.join().map_err(|_| "a client panicked")?? {
                *sum.entry(status).or_default() += f64::from(answers);
            }
        }
        let seconds = self.began.elapsed().as_secs_f64();
        Ok(sum.into_iter().map(|(status, answers)| (status, answers / seconds)).collect())
    }
}
