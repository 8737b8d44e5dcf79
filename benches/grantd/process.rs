//! Child processes, which end with this process, and their memory.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// How long a program may take to end after the signal.
const GRACE: Duration = Duration::from_secs(15);

/// A program that is ended on drop, and when this process ends, however that happens.
pub(crate) struct Process {
    child: Child,
    stop: Signal,
    lifeline: Child,
}

impl Process {
    /// Takes ownership of a child process, which is ended with the signal `stop` (`TERM` or `INT`).
    pub(crate) fn new(mut child: Child, stop: Signal) -> Outcome<Self> {
        // A shell that reads from a pipe of this process: the pipe closes when this process ends, even if it is killed.
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

    /// Returns the resident memory. `None`: the system does not report it.
    pub(crate) fn memory(&self) -> Option<Memory> {
        Memory::of(&self.child.id().to_string())
    }
}

/// Resident memory, in MiB.
pub(crate) struct Memory {
    pub(crate) now: f64,
    /// The peak so far.
    pub(crate) peak: f64,
}

impl Memory {
    /// Returns the peak memory of this process during `work`, in MiB.
    pub(crate) fn peak_of(work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<f64>> {
        // Resets the peak (proc(5)).
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
        // Last, so that the program is ended even if this process is killed before.
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

/// Creates a directory for a database. On disk: `/tmp` may be in memory, where writes need no sync.
pub(crate) fn directory() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("grantd-bench-").tempdir_in("/var/tmp")
}
