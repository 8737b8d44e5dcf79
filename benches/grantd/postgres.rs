//! A Postgres database for the measurements: on the server of `TEST_DATABASE_URL`, or else on one that is started for this run.
//!
//! That server syncs to disk at each commit, as in production.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::{
    Outcome,
    installation::{programs, unprivileged_user},
    process::{self, Process},
};

/// How long Postgres may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database, which is deleted on drop.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    server: String,
    _cluster: Option<Cluster>,
}

impl Database {
    /// Creates a database. `None`: there is no Postgres.
    pub(crate) fn open() -> Outcome<Option<Self>> {
        let (server, cluster) = match std::env::var("TEST_DATABASE_URL") {
            Ok(url) => (url, None),
            Err(_) => match programs() {
                Some(programs) => {
                    let (url, cluster) = Cluster::start(&programs)?;
                    (url, Some(cluster))
                }
                None => return Ok(None),
            },
        };
        let name = format!("grantd_bench_{}", std::process::id());
        execute(&server, &format!("CREATE DATABASE {name}"))?;
        let url = with_name(&server, &name);
        Ok(Some(Self { url, name, server, _cluster: cluster }))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)) {
            eprintln!("the database {} could not be dropped: {error}", self.name);
        }
    }
}

/// Returns the URL of another database of the same server.
fn with_name(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..].find('/').map_or(address.len(), |at| host + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &address[..end])
}

fn execute(url: &str, sql: &str) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        Ok(connection.close().await?)
    })
}

/// A Postgres server with a directory of its own, which is stopped before the directory is deleted.
struct Cluster {
    _process: Process,
    _directory: TempDir,
}

impl Cluster {
    fn start(programs: &Path) -> Outcome<(String, Self)> {
        let directory = process::directory()?;
        let user = unprivileged_user()?;
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        let data = directory.path().join("data");
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.arg("-D").arg(&data).current_dir(directory.path()).stdin(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command("initdb").args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]).output()?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=on", "synchronous_commit=on"];
        let log = directory.path().join("log");
        let child = command("postgres")
            .args(["-p", &port.to_string()])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?)
            .spawn()?;
        let cluster = Self { _process: Process::new(child, Signal::INT)?, _directory: directory };
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let began = Instant::now();
        while let Err(error) = execute(&url, "SELECT 1") {
            if began.elapsed() > PATIENCE {
                return Err(format!("{error}; the log:\n{}", fs::read_to_string(&log)?).into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok((url, cluster))
    }
}
