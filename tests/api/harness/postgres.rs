//! The Postgres server of the tests: that of `TEST_DATABASE_URL`, or else a cluster that is started for this process.
//! Without either, the tests on Postgres are skipped with a message.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::OnceLock,
};

/// Starts a cluster in the directory `$2` with the programs in `$1`, prints `ready`, and stops the cluster at the end of
/// standard input. Only the test process has the other end of that pipe, so the cluster stops with it, however it ends.
/// The trap lets the script survive Ctrl-C and a closed output pipe until then.
const CARETAKER: &str = r#"
trap '' HUP INT TERM PIPE
cd "$2" || exit
{
    "$1/initdb" -D data -U grantd -A trust -E UTF8 --no-locale --no-sync &&
        "$1/pg_ctl" -D data -l server.log -w -t 60 start -o "-k '$2' -c listen_addresses='' -c max_connections=400 \
            -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB"
} >start.log 2>&1 </dev/null && echo ready || { cat start.log server.log; exec >&-; }
cat >/dev/null
"$1/pg_ctl" -D data -m immediate stop >/dev/null 2>&1
cd / && rm -rf "$2"
"#;

const NONE_FOUND: &str = "no initdb in PATH or /usr/lib/postgresql/*/bin, and TEST_DATABASE_URL is not set";

/// Returns the Postgres server. `None`: there is none.
///
/// # Panics
/// If there is no server and `CI=true`, or if the programs of Postgres fail.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Result<Option<Server>, String>> = OnceLock::new();
    match SERVER.get_or_init(find) {
        Ok(Some(server)) => Some(server),
        Ok(None) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no Postgres, which CI must have: {NONE_FOUND}");
            None
        }
        Err(problem) => panic!("the tests' own Postgres did not start: {problem}"),
    }
}

/// A running server.
pub(crate) struct Server {
    url: String,
    /// The pipe that keeps the started cluster alive. The system closes it when this process ends.
    lifeline: Option<ChildStdin>,
}

impl Server {
    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        let (before, query) = self.url.split_once('?').map_or((self.url.as_str(), None), |(a, b)| (a, Some(b)));
        let authority = before.find("://").map_or(0, |at| at + 3);
        let host = before[authority..].find('/').map_or(before, |at| &before[..authority + at]);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{host}/{database}{query}")
    }

    /// Returns the URL of the database for maintenance, such as `CREATE DATABASE`.
    pub(crate) fn maintenance_url(&self) -> String {
        if self.lifeline.is_some() { self.url("postgres") } else { self.url.clone() }
    }
}

fn find() -> Result<Option<Server>, String> {
    if let Some(url) = std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()) {
        return Ok(Some(Server { url, lifeline: None }));
    }
    if let Some(programs) = programs() {
        return start(&programs).map(Some).map_err(|error| error.to_string());
    }
    // Written directly, since libtest hides the output of passing tests.
    let _ = writeln!(
        io::stderr(),
        "\n==========\nThe Postgres half of the tests does NOT run: {NONE_FOUND}.\n\
         Its tests are reported as passed and did nothing.\n==========\n"
    );
    Ok(None)
}

/// Returns the directory of `initdb` and `pg_ctl`: the first in `PATH`, or else the newest version of Debian's packages.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort_by_key(|bin| bin.parent().and_then(|version| version.file_name()?.to_str()?.parse::<u32>().ok()));
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|bin| bin.join("initdb").is_file() && bin.join("pg_ctl").is_file())
}

fn start(programs: &Path) -> io::Result<Server> {
    let directory = tempfile::Builder::new().prefix("grantd-tests-").tempdir()?.keep();
    let mut caretaker = Command::new("sh");
    caretaker.args(["-c", CARETAKER, "sh"]).arg(programs).arg(&directory);
    // Postgres refuses to run as root, so the programs run as another user.
    if let Some((user, group)) = unprivileged_user()? {
        chown(&directory, Some(user), Some(group))?;
        caretaker.uid(user).gid(group);
    }
    let mut child =
        caretaker.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (Some(lifeline), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    let mut said = String::new();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut said)?;
    if said.trim() != "ready" {
        stdout.read_to_string(&mut said)?;
        return Err(io::Error::other(said));
    }
    let url = format!("postgres://grantd@localhost/postgres?host={}", directory.display());
    Ok(Server { url, lifeline: Some(lifeline) })
}

/// Returns the user and group to run Postgres as if this process is root: `postgres`, or else an unprivileged user.
fn unprivileged_user() -> io::Result<Option<(u32, u32)>> {
    let me = Command::new("id").arg("-u").output()?;
    if me.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    found.map(Some).ok_or_else(|| io::Error::other("this is root, and there is neither a user postgres nor nobody"))
}
