//! What the system knows of this process, from `/proc`. Elsewhere than on Linux there is nothing.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// The use of the system's resources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    /// Time that all threads have computed, in seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    /// In seconds since 1970.
    pub(crate) started_at: f64,
    pub(crate) open_fds: u64,
}

impl Process {
    /// Reads the present values. `None`: the system does not tell.
    #[expect(clippy::cast_precision_loss, reason = "exact for thousands of years")]
    pub(crate) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in parentheses, and may have spaces. The field after it has the number 3 (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        let memory = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = memory.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            resident_bytes: pages * page_size() as u64,
            started_at: boot as f64 + seconds(field(22)?),
            // Less the one that reads the directory.
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64,
        })
    }
}
