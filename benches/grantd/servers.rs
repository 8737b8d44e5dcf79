//! The measured servers, each in a process of its own: grantd, a route with a constant response, and the same route behind the
//! guard.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, http::header::ContentType, web};
use grantd_guard::{Guard, actix::Require, scopes};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Outcome, hashing,
    load::{self, Connection},
    process::{self, Process},
    timing,
};

/// The argument with which the benchmark starts itself as a server.
pub(crate) const SERVE: &str = "--serve";
/// The user of the logins.
pub(crate) const USERNAME: &str = "bench";
/// The administrator.
pub(crate) const OPERATOR: &str = "operator";
/// The client that introspects tokens.
pub(crate) const WATCHER: &str = "watcher";
/// The password of both users.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// Settings without a limit of failed logins, to measure what it costs, and the hash threads without it.
pub(crate) const UNTHROTTLED: [(&str, &str); 2] =
    [("GRANTD_LOGIN_FAILURES", "off"), ("GRANTD_NETWORK_FAILURES", "off")];

/// Not the address, so that tokens stay valid after a restart on another port.
pub(crate) const ISSUER: &str = "http://grantd.bench";
/// 32 bytes in base64url, for databases that are deleted at the end.
const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

scopes! {
    /// The scope that the guarded route requires.
    ItemsRead = "items:read";
}

/// A running server, which is stopped on drop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// Kept open: the server would be killed when it writes to a closed pipe.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a program that prints `listening on http://ADDRESS`.
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let process = Process::new(child, Signal::TERM)?;
        let mut output = BufReader::new(output.ok_or("no pipe for standard output")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if let Some((_, address)) = line.split_once("listening on http://") {
                return Ok(Self { address: address.trim().parse()?, process, _output: output });
            }
            line.clear();
        }
        Err("a server ended before it listened".into())
    }

    /// Starts the route with a constant response.
    pub(crate) fn constant(workers: usize) -> Outcome<Self> {
        Self::start(Command::new(std::env::current_exe()?).args([SERVE, "constant", &workers.to_string()]))
    }

    /// Starts the same route behind the guard, with the keys that grantd publishes.
    pub(crate) fn guarded(workers: usize, jwks: &str) -> Outcome<Self> {
        Self::start(Command::new(std::env::current_exe()?).args([SERVE, "guarded", &workers.to_string(), jwks]))
    }
}

/// Runs this process as one of these two servers.
pub(crate) fn serve(kind: &str, rest: &[&str]) -> Outcome<()> {
    let (workers, guard) = match (kind, rest) {
        ("constant", [workers]) => (workers, None),
        ("guarded", [workers, jwks]) => {
            (workers, Some(Guard::from_keys(ISSUER, [ISSUER], &serde_json::from_str(jwks)?)?))
        }
        _ => return Err("wrong arguments".into()),
    };
    let workers = workers.parse()?;
    let app = move || {
        let app = App::new();
        match &guard {
            Some(guard) => app.app_data(guard.clone()).route("/items", web::get().to(guarded)),
            None => app.route("/items", web::get().to(constant)),
        }
    };
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(app).workers(workers).bind(("127.0.0.1", 0))?;
        for address in server.addrs() {
            println!("listening on http://{address}");
        }
        Ok(server.run().await?)
    })
}

async fn constant() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(r#"{"items": [{"name": "Foo", "price": 45.2}]}"#)
}

async fn guarded(_: Require<ItemsRead>) -> HttpResponse {
    constant().await
}

/// grantd on a database of its own, with default settings.
pub(crate) struct Grantd {
    directory: TempDir,
    settings: Vec<(&'static str, String)>,
}

/// The results of the set-up.
pub(crate) struct SetUp {
    /// A token of a user with the scope `items:read`.
    pub(crate) token: String,
    /// The published keys.
    pub(crate) jwks: String,
    /// The secret of a client that can introspect every token.
    pub(crate) secret: String,
    /// An API key of the user of `token`, with the scope `account`.
    pub(crate) api_key: String,
}

impl Grantd {
    /// Creates a directory and settings. `database`: `None` selects a SQLite file.
    pub(crate) fn new(database: Option<&str>, threads: usize) -> Outcome<Self> {
        let directory = process::directory()?;
        let sqlite = || format!("sqlite://{}", directory.path().join("grantd.db").display());
        let settings = vec![
            ("DATABASE_URL", database.map_or_else(sqlite, str::to_owned)),
            ("GRANTD_MASTER_KEY", MASTER_KEY.to_owned()),
            ("GRANTD_LISTEN", "127.0.0.1:0".to_owned()),
            ("GRANTD_ISSUER", ISSUER.to_owned()),
            ("GRANTD_HASH_MEMORY", format!("{}MiB", hashing::MEMORY_MIB)),
            ("GRANTD_HASH_ITERATIONS", hashing::ITERATIONS.to_string()),
            ("GRANTD_HASH_THREADS", threads.to_string()),
        ];
        Ok(Self { directory, settings })
    }

    /// Runs the first start, and creates users and clients.
    pub(crate) fn set_up(&self) -> Outcome<SetUp> {
        let (server, _) = self.start()?;
        self.run(&["scope", "set", "items:read", "--description", "See items"], "")?;
        self.run(&["role", "set", "reader", "--description", "Sees items", "--scope", "items:read"], "")?;
        self.run(&["user", "create", USERNAME, "--role", "reader", "--password-stdin"], PASSWORD)?;
        self.run(&["user", "create", OPERATOR, "--role", "admin", "--password-stdin"], PASSWORD)?;
        let mut connection = Connection::open(server.address)?;
        let login = body(&mut connection, &load::login(USERNAME, PASSWORD))?;
        let login: serde_json::Value = serde_json::from_str(&login)?;
        let token = login["access_token"].as_str().ok_or("the answer has no access_token")?.to_owned();
        let jwks = body(&mut connection, &load::get("/.well-known/jwks.json", None))?;
        let client = ["client", "create", WATCHER, "--type", "confidential", "--grant", "client_credentials"];
        let made = self.run(&[&client[..], &["--scope", "tokens:introspect", "--json"]].concat(), "")?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let secret = made["client_secret"].as_str().ok_or("the client has no secret")?.to_owned();
        let key = self.run(&["api-key", "create", USERNAME, "bench", "--scope", "account", "--json"], "")?;
        let key: serde_json::Value = serde_json::from_str(&key)?;
        let api_key = key["key"].as_str().ok_or("the API key is not shown")?.to_owned();
        self.run(&["user", "import", "-", "--from", "jsonl"], timing::IMPORTED)?;
        Ok(SetUp { token, jwks, secret, api_key })
    }

    /// Starts the server. Returns also how long it took until it was listening.
    pub(crate) fn start(&self) -> Outcome<(Server, Duration)> {
        self.start_with(&[])
    }

    /// Starts the server with other settings.
    pub(crate) fn start_with(&self, settings: &[(&str, &str)]) -> Outcome<(Server, Duration)> {
        let began = Instant::now();
        let server = Server::start(self.command()?.envs(settings.iter().copied()).arg("serve"))
            .map_err(|error| format!("{error}; its log ends with:\n{}", self.end_of_log()))?;
        let (mut connection, ready) = (Connection::open(server.address)?, load::get("/readyz", None));
        while connection.call(&ready)?.0 != 200 {
            thread::sleep(Duration::from_millis(1));
        }
        Ok((server, began.elapsed()))
    }

    /// Returns the database URL.
    pub(crate) fn database(&self) -> &str {
        &self.settings[0].1
    }

    fn run(&self, args: &[&str], input: &str) -> Outcome<String> {
        let mut child = self.command()?.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // A command that fails early does not read its input; the exit code shows the failure.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!("`grantd {}` failed:\n{}", args.join(" "), self.end_of_log()).into())
    }

    /// Returns a command without the caller's environment and without `.env`, since the defaults are measured. The log goes
    /// to a file, as in production.
    fn command(&self) -> Outcome<Command> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantd"));
        command.env_clear().envs(self.settings.clone()).current_dir(self.directory.path()).stderr(log);
        Ok(command)
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().skip(log.lines().count().saturating_sub(20)).collect::<Vec<_>>().join("\n")
    }
}

fn body(connection: &mut Connection, request: &[u8]) -> Outcome<String> {
    let (status, body) = connection.call(request)?;
    let body = String::from_utf8_lossy(body).into_owned();
    if status == 200 { Ok(body) } else { Err(format!("the answer is {status}: {body}").into()) }
}
