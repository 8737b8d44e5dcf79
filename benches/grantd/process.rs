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

    /// What it holds of the machine's memory. `None` where the system does not say.
    pub(crate) fn memory(&self) -> Option<Memory> {
        Memory::of(&self.child.id().to_string())
    }
}

/// In MiB.
pub(crate) struct Memory {
    pub(crate) now: f64,
    /// At most so far.
    pub(crate) peak: f64,
}

impl Memory {
    /// As much as this program held at most while it did something, in MiB.
    pub(crate) fn peak_of(work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<f64>> {
        // Forgets the peak so far (proc(5)).
        let forgotten = std::fs::write("/proc/self/clear_refs", "5");
        work()?;
        Ok(forgotten.ok().and_then(|()| Self::of("self")).map(|memory| memory.peak))
    }

    fn of(process: &str) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let mib = |name| {
            let line = status.lines().find_map(|line: &str| line.strip_prefix(name))?;
            Some(line.trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        Some(Self { now: mib("VmRSS:")?, peak: mib("VmHWM:")? })
    }
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
