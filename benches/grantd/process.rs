//! Programs that this one starts, that never outlive it, and what the system knows of them.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// As long as a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(15);

/// A program that runs until this value is dropped, or this process ends in whatever way.
pub(crate) struct Process {
    child: Child,
    stop: Signal,
    lifeline: Child,
}

impl Process {
    /// Takes charge of a child, which `stop` (`TERM` or `INT`) asks to end.
    pub(crate) fn new(mut child: Child, stop: Signal) -> Outcome<Self> {
        // A shell that waits at a pipe which nobody else holds: it closes when this process is gone, even if it was killed.
        let script = r#"read -r _; kill -s "$1" "$0""#;
        let name = if stop == Signal::INT { "INT" } else { "TERM" };
        let lifeline = Command::new("sh")
            .args(["-c", script, &child.id().to_string(), name])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match lifeline {
            Ok(lifeline) => Ok(Self { child, stop, lifeline }),
            Err(error) => {
                end(&mut child, stop)?;
                Err(error.into())
            }
        }
    }

    /// What it holds of the machine's memory, in MiB: now, and at most so far. `None` where the system does not say.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let mib = |name| {
            let line = status.lines().find_map(|line: &str| line.strip_prefix(name))?;
            Some(line.trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        Some(Memory { now: mib("VmRSS:")?, peak: mib("VmHWM:")? })
    }
}

/// In MiB.
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = end(&mut self.child, self.stop) {
            eprintln!("a program that was started could not be ended: {error}");
        }
        // Last, so that there is no moment at which nobody would end the program.
        let _ = self.lifeline.kill().and_then(|()| self.lifeline.wait());
    }
}

fn end(child: &mut Child, stop: Signal) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill_process(Pid::from_child(child), stop)?;
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait().map(drop)
}

/// A directory for a database. On the disk: `/tmp` may be memory, where nothing is ever written through.
pub(crate) fn directory() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("grantd-bench-").tempdir_in("/var/tmp")
}
