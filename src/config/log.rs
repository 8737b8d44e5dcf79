//! Filter and format of the log.

use std::io::{self, IsTerminal as _};

use clap::Args;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::check::Check;

#[derive(Args, Clone)]
#[command(next_help_heading = "Log and audit")]
pub(super) struct LogSettings {
    /// Log level: error, warn, info, debug or trace
    ///
    /// Levels can be set by target: `info,grantd::http=debug`.
    #[arg(long, env = "GRANTD_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// Log format: `pretty` or `json`
    ///
    /// When not set, pretty on a terminal, else json.
    #[arg(long, env = "GRANTD_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Filter and format of the log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A filter in `tracing`'s syntax.
    pub filter: String,
    /// The format; `None`: depends on whether standard error is a terminal.
    pub format: Option<LogFormat>,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines, an object per line.
    Json,
}

impl LogFormat {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

impl LogConfig {
    /// Returns the format in force: where none is set, `pretty` if standard error is a terminal, else `json`.
    #[must_use]
    pub fn format_in_force(&self) -> LogFormat {
        let default = if io::stderr().is_terminal() { LogFormat::Pretty } else { LogFormat::Json };
        self.format.unwrap_or(default)
    }
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("allowed is pretty or json".to_owned()),
    }
}

impl LogSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<LogConfig> {
        let filter = check.value("GRANTD_LOG", &self.log, |text| {
            // A word alone would be a target, which is hardly ever what was meant.
            let plain = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
            let allowed = "allowed is a level (error, warn, info, debug, trace) or target=level, with commas";
            let parsed = text.parse::<Targets>().is_ok() && text.split(',').all(plain);
            if parsed { Ok(text.to_owned()) } else { Err(allowed.to_owned()) }
        });
        let format = check.optional("GRANTD_LOG_FORMAT", self.log_format.as_ref(), format);
        Some(LogConfig { filter: filter?, format: format? })
    }
}
