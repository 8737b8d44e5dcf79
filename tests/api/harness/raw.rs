//! Requests that no HTTP client would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Sends these bytes to a server and gives the status and the whole of what comes back until it closes the connection.
/// The request should therefore ask for that.
pub(crate) async fn raw(url: &str, request: impl AsRef<[u8]>) -> (u16, String) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    // A server that refuses a request before it has read all of it may close its end meanwhile.
    let _ = stream.write_all(request.as_ref()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no end of the answer: {:?}", String::from_utf8_lossy(&answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), answer)
}
