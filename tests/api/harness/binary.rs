//! The program `grantd`, as a process.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Form, MASTER_KEY, Request, http_client};

/// The path of the program.
pub(crate) const GRANTD: &str = env!("CARGO_BIN_EXE_grantd");

/// Returns a command without settings from this process's environment, in a directory without `.env`.
fn command(database: &str, directory: &Path) -> Command {
    with_settings(GRANTD, database, directory)
}

fn with_settings(program: &str, database: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(directory);
    command.env("DATABASE_URL", database).env("GRANTD_LISTEN", "127.0.0.1:0");
    if database.starts_with("postgres") {
        command.env("GRANTD_MASTER_KEY", MASTER_KEY);
    }
    // Cheap hashes, as for the servers in this process.
    command.envs([("GRANTD_HASH_MEMORY", "8KiB"), ("GRANTD_HASH_ITERATIONS", "1"), ("GRANTD_HASH_THREADS", "1")]);
    command
}

/// Runs a command with this standard input and additional variables.
pub(crate) fn grantd(database: &str, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(database, directory.path());
    command.args(arguments).envs(variables.iter().copied());
    run(command, input)
}

/// Runs a command on a terminal, with this input. Standard output has both streams, as a terminal shows them.
pub(crate) fn grantd_on_terminal(database: &str, arguments: &[&str], typed: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = with_settings("script", database, directory.path());
    let line: Vec<_> = std::iter::once(&GRANTD).chain(arguments).map(|word| format!("'{word}'")).collect();
    command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    run(command, typed)
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A server in a process of its own, which is killed on drop.
pub(crate) struct Grantd {
    child: Child,
    /// Kills the server if this process ends without a drop.
    caretaker: Child,
    client: reqwest::Client,
    url: String,
    lines: Receiver<String>,
    log: JoinHandle<String>,
    _directory: tempfile::TempDir,
}

impl Grantd {
    /// Starts a server, and waits until it listens.
    pub(crate) fn start(database: &str, variables: &[(&str, &str)]) -> Self {
        Self::with_arguments(database, &[], variables)
    }

    /// Starts a server with these arguments.
    pub(crate) fn with_arguments(database: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::try_start(database, arguments, variables).unwrap_or_else(|log| panic!("the server does not start: {log}"))
    }

    /// Starts a server, or returns its standard error if it ends instead.
    pub(crate) fn try_start(database: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command(database, directory.path());
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
        Self::spawn(command, directory)
    }

    /// Starts a server with a socket that listens, as systemd does (socket activation).
    pub(crate) fn on_socket(socket: OwnedFd, database: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = with_settings("sh", database, directory.path());
        let script = "exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$1\"";
        command.args(["-c", script, "sh", GRANTD]).envs(variables.iter().copied()).stdin(socket);
        Self::spawn(command, directory)
    }

    fn spawn(mut command: Command, directory: tempfile::TempDir) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The command has a copy of the socket, which must end with the server.
        drop(command);
        let mut caretaker = Command::new("sh");
        caretaker.args(["-c", "trap '' HUP INT TERM; cat >/dev/null; kill -KILL $1", "sh", &child.id().to_string()]);
        let caretaker = caretaker.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        // Both pipes are read to their ends, so that the server never blocks on a full pipe.
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (said, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| said.send(line).is_ok()));
        let log = thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let url = String::new();
        let mut started = Self { child, caretaker, client: http_client(), url, lines, log, _directory: directory };
        match started.next_line_with("listening on ") {
            Some(line) => line.rsplit(' ').next().unwrap().clone_into(&mut started.url),
            None => return Err(started.kill().1),
        }
        Ok(started)
    }

    /// Returns the next line of standard output that contains this text.
    pub(crate) fn line_with(&self, text: &str) -> String {
        self.next_line_with(text).unwrap_or_else(|| panic!("no line contains {text:?}"))
    }

    fn next_line_with(&self, text: &str) -> Option<String> {
        let mut lines = std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_mins(1)).ok());
        lines.find(|line| line.contains(text))
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns a request to build.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(&self.client, method, &format!("{}{path}", self.url))
    }

    /// Logs the administrator in with this password, and returns the access token.
    pub(crate) async fn login(&self, password: &str) -> String {
        let answer = self.request("POST", "/token").form(&Form::password("admin", password)).send().await;
        answer.json_with(200)["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(&mut self) {
        // The caretaker first: afterwards, the process id of the server may be reused.
        for child in [&mut self.caretaker, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the server ends, and returns its exit code. Fails if it does not end by itself.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        super::eventually("the server ends", async || self.child.try_wait().unwrap().is_some()).await;
        self.wait().code()
    }

    /// Waits until the server ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Kills the server (SIGKILL). Returns the rest of standard output, and the whole log.
    pub(crate) fn kill(mut self) -> (String, String) {
        self.end();
        let rest: Vec<String> = self.lines.iter().collect();
        let log = std::mem::replace(&mut self.log, thread::spawn(String::new));
        (rest.join("\n"), log.join().unwrap())
    }
}

impl Drop for Grantd {
    fn drop(&mut self) {
        self.end();
    }
}
