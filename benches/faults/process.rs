//! Child processes, which end with this process, however that happens.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// A program, which is killed on drop.
pub(crate) struct Process {
    child: Child,
    /// A shell that kills the program when its standard input is closed.
    caretaker: Child,
}

impl Process {
    /// Starts a program. `end`: the signal that ends it with this process, `KILL` or `QUIT`.
    pub(crate) fn start(command: &mut Command, end: &str) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let script = r#"trap '' HUP INT TERM; cat >/dev/null; kill -s "$2" "$1""#;
        let caretaker = Command::new("sh")
            .args(["-c", script, "sh", &child.id().to_string(), end])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match caretaker {
            Ok(caretaker) => Ok(Self { child, caretaker }),
            Err(error) => {
                child.kill()?;
                Err(error.into())
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Returns the exit status. `None`: it is running.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            self.dismiss();
        }
        Ok(ended)
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.dismiss();
        self.child.wait()
    }

    /// Ends the caretaker before the process id of the program can be reused.
    fn dismiss(&mut self) {
        let _ = self.caretaker.kill().and_then(|()| self.caretaker.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.dismiss();
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
