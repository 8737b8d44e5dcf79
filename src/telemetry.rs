//! The log: what is written, and how. It goes to standard error.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stderr, Write},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

use crate::config::{LogConfig, LogFormat};

/// How long lines gather under load.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes the first line at once, and those of the next moment together: a thread that is woken for each costs more than the
/// requests that they tell of.
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

/// What is still to be written is written when this is dropped.
#[must_use]
pub struct Log(#[expect(dead_code, reason = "it is there to be dropped")] WorkerGuard);

/// Starts the log of this process. A second call changes nothing.
pub fn init(config: &LogConfig) -> Log {
    let filter: Targets = config.filter.parse().unwrap_or_default();
    // Its lines about workers say nothing to those who run grantd.
    let filter = filter.with_target("actix_server", LevelFilter::WARN);
    let terminal = io::stderr().is_terminal();
    let format = config.format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    // It writes what there is and then flushes: a line at a time where it is quiet. Whoever reads no lines does not hold up
    // the server: they are lost.
    let (writer, guard) = tracing_appender::non_blocking(Unhurried(BufWriter::new(io::stderr())));
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Pretty => lines.with_ansi(terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Only a second call fails, and the first one's log goes on.
    let _ = registry.try_init();
    Log(guard)
}
