//! A connection that ends if its caller takes too long: to send a head after the first one, to read a response.
//!
//! actix-web itself has limits for the first head of a connection and for the time between requests, and none for a later head
//! that began to arrive, for a body that no handler reads, and for a response.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{Payload, error::PayloadError};
use actix_web::web::Bytes;
use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::workers::{Counted, Worker};
use crate::config::Timeouts;

/// What the service tells the connection about its requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Requests in progress.
    running: Cell<usize>,
    /// Whether the end of the body of the last request was not read.
    has_unread_body: Cell<bool>,
    /// Whether the caller has to send more: the rest of a head, or of a body that no handler reads.
    is_incomplete: Cell<bool>,
}

impl Requests {
    /// Notes that a request begins, whose head is therefore complete. It ends with the drop of the result.
    pub(super) fn begin(self: Rc<Self>, has_body: bool) -> Running {
        self.is_incomplete.set(false);
        self.has_unread_body.set(has_body);
        self.running.set(self.running.get() + 1);
        Running(self)
    }
}

/// A request in progress.
pub(super) struct Running(Rc<Requests>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        // Also if nothing more arrives: the rest of the body is then waited for.
        if self.0.has_unread_body.take() {
            self.0.is_incomplete.set(true);
        }
    }
}

/// The body of a request, which notes when it was read to its end.
pub(super) struct Body {
    pub(super) payload: Payload,
    pub(super) requests: Rc<Requests>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.payload).poll_next(cx));
        if next.is_none() {
            self.requests.has_unread_body.set(false);
        }
        Poll::Ready(next)
    }
}

/// A stream with timeouts.
pub(super) struct Timed<T> {
    io: T,
    timeouts: Timeouts,
    worker: Rc<Worker>,
    requests: Rc<Requests>,
    /// Until when the rest of a head must arrive. Only set while the stream waits for it.
    head: Option<Instant>,
    /// Until when the response must have been taken. Only set while the caller's receive buffer is full.
    answer: Option<Instant>,
    /// Set together with `answer`: the request is under way until its response was taken.
    waits: Option<Counted>,
    /// Made when the stream first waits: most connections never do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Timed<T> {
    pub(super) fn new(io: T, timeouts: Timeouts, worker: Rc<Worker>) -> Self {
        Self { io, timeouts, worker, requests: Rc::default(), head: None, answer: None, waits: None, timer: None }
    }

    /// Returns where the service notes the requests of this connection.
    pub(super) fn requests(&self) -> Rc<Requests> {
        Rc::clone(&self.requests)
    }

    /// Fails once a limit is exceeded; else wakes the task at that time.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.requests.is_incomplete.get() {
            self.head = None;
        }
        // While a response waits for the caller, the server is not waiting for the next head.
        let Some(limit) = self.answer.or(self.head) else { return Ok(()) };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn waits_for_head(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.requests.is_incomplete.get() && self.head.is_none() {
            self.head = Some(Instant::now() + self.timeouts.head);
        }
        self.poll_limits(cx)
    }

    /// Returns the result of a write or a flush, or the error of one that waits for too long.
    fn wrote<R>(&mut self, done: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if done.is_pending() {
            let timeouts = self.timeouts;
            self.answer.get_or_insert_with(|| Instant::now() + timeouts.answer);
            self.waits.get_or_insert_with(|| self.worker.waits_for_caller());
        }
        // Also if some bytes were written: a caller that takes a byte a second is too slow.
        self.poll_limits(cx)?;
        done
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let done = Pin::new(&mut this.io).poll_read(cx, buffer);
        if buffer.filled().len() > before && this.requests.running.get() == 0 {
            this.requests.is_incomplete.set(true);
        }
        if done.is_pending() {
            this.waits_for_head(cx)?;
        }
        done
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.wrote(done, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.wrote(done, cx))?;
        // Everything was taken. The time for a head counts from then: before, the caller could not know the response.
        if this.answer.take().is_some() {
            this.head = None;
            this.waits = None;
        }
        // Without another byte, there may be no read that would start the time for the rest of a body.
        this.waits_for_head(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_shutdown(cx);
        this.wrote(done, cx)
    }
}
