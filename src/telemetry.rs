//! The log: what is written, and how. It goes to standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

use crate::config::{LogConfig, LogFormat};

/// Starts the log of this process. A second call changes nothing.
pub fn init(config: &LogConfig) {
    let filter: Targets = config.filter.parse().unwrap_or_default();
    // Its lines about workers say nothing to those who run grantd.
    let filter = filter.with_target("actix_server", LevelFilter::WARN);
    let terminal = io::stderr().is_terminal();
    let format = config.format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Pretty => lines.with_ansi(terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Only a second call fails, and the first one's log goes on.
    let _ = registry.try_init();
}
