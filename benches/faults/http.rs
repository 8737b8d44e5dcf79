//! A client for HTTP/1.1: one request at a time on a connection that is kept open.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 * 1024;

/// A request to build.
#[derive(Clone)]
pub(crate) struct Request {
    line: String,
    authorization: String,
    kind: &'static str,
    body: String,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { line: format!("{method} {path}"), authorization: String::new(), kind: "", body: String::new() }
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        Self { authorization: format!("Authorization: Bearer {token}\r\n"), ..self }
    }

    pub(crate) fn api_key(self, key: &str) -> Self {
        Self { authorization: format!("X-API-Key: {key}\r\n"), ..self }
    }

    /// Authenticates a client. Neither id nor secret needs escapes.
    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        Self {
            authorization: format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}"))),
            ..self
        }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self { kind: "Content-Type: application/json\r\n", body: body.to_string(), ..self }
    }

    /// Adds a form. No value needs escapes.
    pub(crate) fn form(self, fields: &[(&str, &str)]) -> Self {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self { kind: "Content-Type: application/x-www-form-urlencoded\r\n", body: fields.join("&"), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { line, authorization, kind, body } = self;
        let length = body.len();
        format!("{line} HTTP/1.1\r\nHost: grantd\r\n{authorization}{kind}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}

/// The request as a report shows it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] {}", self.line, self.authorization.trim_end(), self.body)
    }
}

/// The result of a request.
pub(crate) enum Reply {
    Answer(u16, Value),
    /// It was sent, and may have been carried out.
    Lost,
    /// It was not sent.
    Unsent,
}

/// The connection to one server.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; BUFFER] }
    }

    /// Sends a request and reads the answer. `cut`: closes the connection right after the request.
    pub(crate) fn call(&mut self, request: &Request, cut: bool) -> Reply {
        match self.send(request) {
            Ok(_) if cut => Reply::Lost,
            Ok(stream) => self.receive(stream),
            Err(reply) => reply,
        }
    }

    /// Sends a request. Its answer comes on the result.
    pub(crate) fn send(&mut self, request: &Request) -> Result<TcpStream, Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).map_err(|_| Reply::Unsent)?,
        };
        stream.write_all(&request.bytes()).map_err(|_| Reply::Lost)?;
        Ok(stream)
    }

    /// Reads the answer of a request that was sent.
    pub(crate) fn receive(&mut self, mut stream: TcpStream) -> Reply {
        match read(&mut stream, &mut self.buffer) {
            Some((status, body, stays_open)) => {
                self.stream = stays_open.then_some(stream);
                Reply::Answer(status, body)
            }
            None => Reply::Lost,
        }
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads an answer: its status, its body, and whether the connection stays open. `None`: it is incomplete.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<(u16, Value, bool)> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).ok().filter(|read| *read > 0)?;
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("content-length:").map_or(Some(0), |length| length.parse().ok())?;
        let body = head + 4;
        while filled < body + length {
            filled += stream.read(&mut buffer[filled..]).ok().filter(|read| *read > 0)?;
        }
        let status = text.get(9..12)?.parse().ok()?;
        let value = serde_json::from_slice(&buffer[body..body + length]).unwrap_or(Value::Null);
        return Some((status, value, field("connection:") != Some("close")));
    }
}
