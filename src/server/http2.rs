//! HTTP/2: the requests of a connection, at once but in limited number.
//!
//! actix-web's own HTTP/2 has no limit for the streams of a connection, and continues to work for streams that the caller has
//! reset: with resets in a flood (CVE-2023-44487), a single connection could fill memory and hash queue.

use std::{cmp::min, future::poll_fn, net::SocketAddr, pin::pin, rc::Rc};

use actix_http::{
    Method, Payload, Request, Response, Version,
    body::{BodySize, MessageBody},
    error::PayloadError,
    header::{HeaderName, HeaderValue},
};
use actix_service::Service;
use actix_web::web::Bytes;
use futures_util::stream;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, Connection, SendResponse},
};
use http::{HeaderMap, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::workers::Worker;
use crate::{clock::Clock, config::Timeouts};

/// Requests in progress on a connection. What a caller has beyond that is refused (`REFUSED_STREAM`), and may be sent again.
///
/// RFC 9113 §5.1.2 recommends at least 100.
const MAX_STREAMS: u32 = 128;
/// Resets by the caller, beyond the number of answered requests, after which the connection is closed.
///
/// Browsers reset the requests of a page that is left; no caller resets that many more than it lets through.
const MAX_RESETS: u32 = 100;
/// Streams that were reset because of the caller's errors, after which the connection is closed.
const MAX_ERRORS: usize = 100;
/// Bound on the head of a request while it is decoded, in bytes. `http/headers.rs` has the limit for all versions of HTTP, and
/// answers with a problem; here is only what a head may cost. A field counts 32 bytes more than its text (RFC 9113 §6.5.2).
const MAX_HEAD: u32 = 32 * 1024;
/// Received bytes of all bodies of a connection that no handler has read.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How a request ended.
enum Ended {
    Answered,
    /// By the caller, who reset the stream.
    Reset,
}

/// When the server stops.
pub(super) struct Stages<A, B> {
    /// New requests are refused.
    pub(super) stopping: A,
    /// Connections are closed.
    pub(super) closing: B,
}

/// Serves a connection until it ends: by the caller, by an error, after too long without a request, or, once the server
/// stops, with its last request. Requests that are in progress then are dropped, and what waited for them with them.
pub(super) async fn serve<T, S, B>(
    io: T,
    caller: Caller<S>,
    timeouts: Timeouts,
    stages: Stages<impl Future<Output = ()>, impl Future<Output = ()>>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    let Ok(Ok(mut connection)) = timeout(timeouts.head, builder().handshake::<_, Bytes>(io)).await else { return };
    let (mut requests, mut resets, mut is_closing, mut is_used) = (JoinSet::new(), 0_u32, false, false);
    let (mut stopping, mut closing) = (pin!(stages.stopping), pin!(stages.closing));
    let mut idle = pin!(sleep(timeouts.head));
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                is_used = true;
                requests.spawn_local(caller.clone().answer(request, respond, timeouts));
            }
            Some(ended) = requests.join_next() => {
                resets = match ended {
                    Ok(Ended::Reset) => resets + 1,
                    Ok(Ended::Answered) | Err(_) => resets.saturating_sub(1),
                };
                if resets > MAX_RESETS {
                    drop(requests);
                    return refuse(connection, timeouts).await;
                }
                if requests.is_empty() {
                    idle.as_mut().reset(Instant::now() + if is_closing { timeouts.head } else { timeouts.idle });
                }
            }
            () = ends(stopping.as_mut(), closing.as_mut(), is_used), if !is_closing => {
                is_closing = true;
                connection.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + timeouts.head);
            }
            () = &mut idle, if requests.is_empty() => {
                if is_closing {
                    return;
                }
                is_closing = true;
                connection.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + timeouts.head);
            }
        }
    }
}

/// Waits until the server stops. A connection without a request stays until its first one, so that a new caller, such as a health
/// check, gets a response.
async fn ends(stopping: impl Future<Output = ()>, closing: impl Future<Output = ()>, is_used: bool) {
    tokio::select! {
        () = stopping, if is_used => {}
        () = closing => {}
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .max_header_list_size(MAX_HEAD)
        .initial_connection_window_size(CONNECTION_WINDOW);
    // Streams that are reset before `accept` returned them are limited to 20 by default.
    builder
}

/// Closes the connection with `ENHANCE_YOUR_CALM`.
async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<T, Bytes>, timeouts: Timeouts) {
    tracing::debug!("an HTTP/2 connection was closed: it resets streams in a flood");
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let _ = timeout(timeouts.head, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// Who calls, and what answers.
pub(super) struct Caller<S> {
    pub(super) service: Rc<S>,
    pub(super) address: Option<SocketAddr>,
    pub(super) clock: Clock,
    pub(super) worker: Rc<Worker>,
}

impl<S> Clone for Caller<S> {
    fn clone(&self) -> Self {
        let (service, worker) = (Rc::clone(&self.service), Rc::clone(&self.worker));
        Self { service, address: self.address, clock: self.clock.clone(), worker }
    }
}

impl<S> Caller<S> {
    /// Answers a request, unless its stream is reset.
    async fn answer<B>(
        self,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        timeouts: Timeouts,
    ) -> Ended
    where
        S: Service<Request, Response = Response<B>, Error = actix_web::Error>,
        B: MessageBody,
    {
        let _counted = self.worker.begin();
        let is_head = request.method() == http::Method::HEAD;
        let Some(request) = converted(request, self.address) else {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Ended::Answered;
        };
        let response = tokio::select! {
            biased;
            // The request is dropped, and what it waits for with it: above all a password to be hashed.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return Ended::Reset,
            response = self.service.call(request) => response,
        };
        // A response that is not taken is dropped, which resets its stream.
        let sent = match response {
            Ok(response) => timeout(timeouts.answer, send(response, respond, is_head, &self.clock)).await,
            Err(error) => timeout(timeouts.answer, send(error.into(), respond, is_head, &self.clock)).await,
        };
        match sent {
            Ok(Err(_)) => Ended::Reset,
            Ok(Ok(())) | Err(_) => Ended::Answered,
        }
    }
}

/// Returns the request in actix-web's types, which are those of an older version of `http`. `None` if a part of it is valid only in
/// the newer version; there is no such part today.
fn converted(request: http::Request<RecvStream>, address: Option<SocketAddr>) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let mut converted = Request::with_payload(payload(body));
    let head = converted.head_mut();
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).ok()?;
    head.uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse().ok()?;
    head.version = Version::HTTP_2;
    head.peer_addr = address;
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        head.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(converted)
}

fn payload(mut body: RecvStream) -> Payload {
    if body.is_end_stream() {
        return Payload::None;
    }
    let chunks = stream::poll_fn(move |cx| {
        body.poll_data(cx).map(|chunk| {
            let chunk = chunk?.map_err(|_| PayloadError::Incomplete(None));
            Some(chunk.inspect(|chunk| drop(body.flow_control().release_capacity(chunk.len()))))
        })
    });
    Payload::Stream { payload: Box::pin(chunks) }
}

/// Sends a response. Ends when the caller's flow control has let all of it through.
async fn send<B: MessageBody>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    clock: &Clock,
) -> Result<(), h2::Error> {
    let (response, body) = response.into_parts();
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default();
    *head.headers_mut() = fields(&response, body.size(), clock);
    let is_end = is_head || body.size().is_eof();
    let stream = respond.send_response(head, is_end)?;
    if is_end { Ok(()) } else { send_body(body, stream).await }
}

/// Returns the header of a response: without fields of HTTP/1.1 connections (RFC 9113 §8.2.2), with those that actix-web adds to
/// each response.
fn fields(response: &Response<()>, size: BodySize, clock: &Clock) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(response.headers().len() + 2);
    for (name, value) in response.headers() {
        let name = header::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        fields.remove(name);
    }
    if let BodySize::Sized(length) = size
        && !response.status().is_informational()
        && response.status() != actix_http::StatusCode::NO_CONTENT
    {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    let date = clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = date.parse() {
        fields.entry(header::DATE).or_insert(date);
    }
    fields
}

async fn send_body<B: MessageBody>(body: B, mut stream: SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        // The end without `END_STREAM` tells the caller that the body is incomplete.
        let Ok(mut chunk) = chunk else { return Ok(()) };
        while !chunk.is_empty() {
            stream.reserve_capacity(chunk.len());
            let Some(capacity) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
            let part = chunk.split_to(min(capacity?, chunk.len()));
            stream.send_data(part, false)?;
        }
    }
    stream.send_data(Bytes::new(), true)
}
