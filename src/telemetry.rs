//! The log: filter, format, and the thread that writes it to standard error.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stderr, Write},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

use crate::config::{LogConfig, LogFormat};

/// Lines that wait for the reader of standard error. The queue's memory, 32 bytes for each, is allocated at the start.
const LINES: usize = 16_384;

/// How long lines are collected under load.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes the first line at once, and the lines of the next [`PAUSE`] together: waking the log thread for each line costs more
/// than the request that the line is about.
struct Unhurried(BufWriter<Stderr>);

impl Write for Unhurried {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        thread::sleep(PAUSE);
        flushed
    }
}

/// The log thread. Dropping it writes the lines that are still queued.
#[must_use]
pub struct Log(#[expect(dead_code, reason = "it is there to be dropped")] WorkerGuard);

/// Starts the log of this process. A second call has no effect.
pub fn init(config: &LogConfig) -> Log {
    let filter: Targets = config.filter.parse().unwrap_or_default();
    // Lines about workers, and Postgres's notices about tables that exist already, are of no use to operators.
    let filter = ["actix_server", "sqlx::postgres::notice"]
        .into_iter()
        .fold(filter, |filter, target| filter.with_target(target, LevelFilter::WARN));
    // Malformed requests, of which anybody can send a flood. actix-http logs each as an error.
    let filter = filter.with_target("actix_http::h1", LevelFilter::OFF);
    let terminal = io::stderr().is_terminal();
    // The log thread writes all queued lines and then flushes. If standard error blocks and the queue is full, lines are dropped:
    // no request waits for the log.
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES).finish(Unhurried(BufWriter::new(io::stderr())));
    let lines = fmt::layer().with_writer(writer);
    let lines = match config.format_in_force() {
        LogFormat::Pretty => lines.with_ansi(terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    // Not `lines.with_filter`: after a question that no event follows, as sqlx asks before a notice, a filter of one layer
    // drops the next event of the thread too.
    let registry = tracing_subscriber::registry().with(filter).with(lines);
    // Only a second call fails, and the log of the first one stays.
    let _ = registry.try_init();
    Log(guard)
}
