//! Floods of guessed passwords, from one address and from many, and the logins of the owner meanwhile.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    latency::{self, Flood},
    load::{self, Connection},
    servers::{PASSWORD, USERNAME},
};

/// Connections of the flood.
const CONNECTIONS: usize = 200;
/// The pause of each connection after a response. Without one, the guessers, which share the cores with the server, take all of
/// them: a refusal costs little.
const GUESSER_PAUSE: Duration = Duration::from_millis(50);
/// Accounts that are guessed at, one of which exists.
const ACCOUNTS: usize = 100;
/// The pause between two logins of the owner.
const PAUSE: Duration = Duration::from_millis(100);
/// The owner's address, from which it logged in before.
const OWNER: &str = "X-Forwarded-For: 198.51.100.7\r\n";

/// The result of a flood.
pub(crate) struct Flooded {
    /// Response times of another route.
    pub(crate) took: Vec<Duration>,
    /// Logins of the owner, and how many of them succeeded.
    pub(crate) logins: u32,
    pub(crate) succeeded: u32,
}

/// Returns the owner's login.
pub(crate) fn owner() -> Vec<u8> {
    load::post("/token", OWNER, &format!("grant_type=password&username={USERNAME}&password={PASSWORD}"))
}

/// Guesses from this many addresses for a time, and measures another route at a fixed rate.
pub(crate) fn flood(
    server: SocketAddr,
    addresses: usize,
    (route, per_second): (&[u8], u32),
    duration: Duration,
) -> Outcome<Flooded> {
    let guess = |nth: usize| {
        let address = nth % addresses;
        let headers = format!("X-Forwarded-For: 10.0.{}.{}\r\n", address / 250, address % 250);
        let name = if nth.is_multiple_of(ACCOUNTS) { USERNAME.to_owned() } else { format!("name{}", nth % ACCOUNTS) };
        load::post("/token", &headers, &format!("grant_type=password&username={name}&password=a-wrong-password"))
    };
    let guesses: Vec<_> = (0..addresses.max(ACCOUNTS)).map(guess).collect();
    let flood = Flood::of(server, &guesses, CONNECTIONS, GUESSER_PAUSE);
    let done = thread::scope(|scope| {
        let owner = scope.spawn(|| logins(server, duration));
        let took = latency::at_rate(server, route, per_second, duration);
        let (logins, succeeded) = owner.join().map_err(|_| "the owner panicked")??;
        Ok(Flooded { took: took?, logins, succeeded })
    });
    flood.stop()?;
    done
}

/// Logs the owner in again and again; returns how often, and how often that succeeded.
fn logins(server: SocketAddr, duration: Duration) -> Outcome<(u32, u32)> {
    let (mut connection, request) = (Connection::open(server)?, owner());
    let (began, mut logins, mut succeeded) = (Instant::now(), 0, 0);
    while began.elapsed() < duration {
        logins += 1;
        succeeded += u32::from(connection.call(&request)?.0 == 200);
        thread::sleep(PAUSE);
    }
    Ok((logins, succeeded))
}
