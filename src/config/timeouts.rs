//! Time limits of a connection. They are not settings: no installation needs others, and tests use shorter ones.

use std::time::Duration;

/// How long a caller may take. `docs/limits.md` lists these and all other limits of requests.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake, and for the head of a request. Over HTTP/2, where a connection has many requests, for the
    /// handshakes of TLS and HTTP/2.
    ///
    /// A head is one or two packets; 5 s allow for one that was lost three times.
    pub head: Duration,
    /// For the body of a request, which has at most 64 KiB.
    ///
    /// 30 s suffice at 2 KiB/s, which is less than any mobile network has.
    pub body: Duration,
    /// For a response: from the moment when the caller's receive buffer is full until everything has been taken.
    ///
    /// The largest responses of the API are lists of 200 entries, of less than 200 KiB: 60 s suffice at 4 KiB/s. Until then,
    /// the response is kept in memory. The files of Swagger UI are larger, and sent in parts.
    pub answer: Duration,
    /// For the next request, on a connection without a request in progress.
    ///
    /// Longer than the 60 s of most proxies and load balancers: a proxy that closes first never sends a request to a connection
    /// that the server closes at that moment.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            body: Duration::from_secs(30),
            answer: Duration::from_mins(1),
            idle: Duration::from_secs(75),
        }
    }
}
