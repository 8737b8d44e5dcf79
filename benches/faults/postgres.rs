//! A Postgres server that is stopped and started.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    Outcome,
    installation::{programs, unprivileged_user},
    process::Process,
    replica::free_port,
};

pub(crate) struct Postgres {
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    settings: &'static [&'static str],
    process: Mutex<Option<Process>>,
}

impl Postgres {
    /// Creates a cluster in a directory, and starts it with these settings besides its own.
    pub(crate) fn create(directory: &Path, settings: &'static [&'static str]) -> Outcome<Self> {
        let programs = programs().ok_or("no initdb in PATH or /usr/lib/postgresql/*/bin: install postgresql")?;
        let user = unprivileged_user()?;
        let directory = directory.join("postgres");
        fs::create_dir(&directory)?;
        if let Some((uid, gid)) = user {
            chown(&directory, Some(uid), Some(gid))?;
        }
        let address = (Ipv4Addr::LOCALHOST, free_port()?).into();
        let postgres = Self { address, directory, programs, user, settings, process: Mutex::new(None) };
        let made = postgres
            .command("initdb")
            .args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        postgres.start()?;
        let began = Instant::now();
        while TcpStream::connect(postgres.address).is_err() {
            if began.elapsed() > Duration::from_secs(30) {
                return Err("Postgres does not start".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(postgres)
    }

    /// Starts the server; it recovers first.
    pub(crate) fn start(&self) -> Outcome<()> {
        let log = fs::File::options().create(true).append(true).open(self.directory.with_extension("log"))?;
        let mut command = self.command("postgres");
        command.args(["-p", &self.address.port().to_string()]);
        // The machine itself does not fail here: what was written survives the end of a process without a sync.
        let own = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=60"];
        for setting in own.iter().chain(self.settings) {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone()?).stderr(log);
        *self.lock() = Some(Process::start(&mut command, "QUIT")?);
        Ok(())
    }

    /// Stops the server without a shutdown checkpoint, as in a crash (`pg_ctl -m immediate stop`).
    pub(crate) fn stop(&self) -> Outcome<()> {
        if let Some(mut process) = self.lock().take() {
            process.signal(Signal::QUIT)?;
            process.wait()?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("-D").arg(self.directory.join("data")).current_dir(&self.directory).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("Postgres could not be stopped: {error}");
        }
    }
}
