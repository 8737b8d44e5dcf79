//! A server in this process: on a free port of the loopback, with a database of its own, cheap hashes, and a clock that
//! stands still until the test moves it.

use std::{future::Future, sync::Arc, thread::JoinHandle};

use actix_web::{dev::ServerHandle, rt::System};
use chrono::{DateTime, Duration, Utc};
use grantd::{app::App, clock::Clock, config::Config, server::Server};
use tokio::sync::oneshot;

use super::{Database, Form, Request};

/// The administrator's password. Long enough, and with a character beyond ASCII.
pub(crate) const ADMIN_PASSWORD: &str = "correct horse bättery";
/// The key of every test's database: 32 bytes of `k`.
pub(crate) const MASTER_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s";
/// What a hash costs in tests: next to nothing.
const CHEAP: [(&str, &str); 3] = [("--hash-memory", "8KiB"), ("--hash-iterations", "1"), ("--hash-threads", "1")];

/// When tests begin: 2026-01-31T12:00:00Z.
pub(crate) fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_769_860_800, 0).unwrap()
}

/// A running server. It stops, and its database goes, when this is dropped.
pub(crate) struct TestServer {
    pub(crate) clock: Clock,
    pub(crate) app: Arc<App>,
    url: String,
    client: reqwest::Client,
    running: Option<Running>,
    // Last: the database is removed when the server has stopped.
    database: Option<Database>,
}

struct Running {
    handle: ServerHandle,
    system: System,
    thread: JoinHandle<()>,
}

impl TestServer {
    /// A server on an empty database.
    pub(crate) async fn start(database: Database) -> Self {
        Self::with(database, &[]).await
    }

    /// A server with more flags than the usual ones, or with other values for those.
    pub(crate) async fn with(database: Database, flags: &[&str]) -> Self {
        let url = database.url().to_owned();
        let mut server = Self::on(&url, flags, Clock::manual(beginning())).await.unwrap();
        server.database = Some(database);
        server
    }

    /// A server on a database that belongs to somebody else, or the reason why it does not start.
    pub(crate) async fn on(database: &str, flags: &[&str], clock: Clock) -> Result<Self, String> {
        let config = config(database, flags)?;
        let (started, start) = oneshot::channel();
        let of_server = clock.clone();
        // In a thread of its own, as in a process of its own: nothing that a test does stops it from answering.
        let thread = std::thread::spawn(move || run(config, of_server, started));
        match start.await.map_err(|_| "the server's thread panicked".to_owned())? {
            Ok((url, app, handle, system)) => {
                let client = super::http_client();
                let running = Some(Running { handle, system, thread });
                Ok(Self { clock, app, url, client, running, database: None })
            }
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Where it listens, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its database.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Stops it and gives its database back, for another to be started on it.
    pub(crate) fn stop(mut self) -> Database {
        self.shut_down();
        self.database.take().unwrap()
    }

    /// Moves its clock.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Does something with the server's own functions, in its thread: connections belong to the thread that made them.
    pub(crate) async fn within<T, F>(&self, work: impl FnOnce(Arc<App>, DateTime<Utc>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (app, now) = (Arc::clone(&self.app), self.clock.now());
        let (done, result) = oneshot::channel();
        let arbiter = self.running.as_ref().unwrap().system.arbiter();
        arbiter.spawn_fn(move || {
            actix_web::rt::spawn(async move { done.send(work(app, now).await).map_err(drop).unwrap() });
        });
        result.await.unwrap()
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(&self.client, method, &format!("{}{path}", self.url))
    }

    /// Begins a `GET`.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// `POST /token` with these parameters.
    pub(crate) fn token(&self, form: &Form) -> Request {
        self.request("POST", "/token").form(form)
    }

    /// A user's access token, from the client `default`, with all its scopes.
    pub(crate) async fn login(&self, username: &str, password: &str) -> String {
        let answer = self.token(&Form::password(username, password)).send().await.json_with(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The same, with some of them.
    pub(crate) async fn login_for(&self, username: &str, password: &str, scope: &str) -> String {
        let form = Form::password(username, password).and("scope", scope);
        let answer = self.token(&form).send().await.json_with(200);
        assert_eq!(answer["scope"], scope);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The access token of a client for itself.
    pub(crate) async fn machine(&self, id: &str, secret: &str, scope: &str) -> String {
        let form = Form::of(&[("grant_type", "client_credentials"), ("scope", scope)]);
        let answer = self.token(&form).basic(id, secret).send().await.json_with(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The administrator's access token.
    pub(crate) async fn admin(&self) -> String {
        self.login("admin", ADMIN_PASSWORD).await
    }

    fn shut_down(&mut self) {
        let Some(running) = self.running.take() else { return };
        // The command is sent here; nobody needs to wait for the future, the thread's end says the same.
        drop(running.handle.stop(false));
        let ended_well = running.thread.join().is_ok();
        assert!(ended_well || std::thread::panicking(), "the server's thread panicked");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Settings for a test.
pub(crate) fn config(database: &str, flags: &[&str]) -> Result<Config, String> {
    let mut usual = vec![
        ("--database-url", database),
        ("--listen", "127.0.0.1:0"),
        ("--database-timeout", "5s"),
        ("--admin-password", ADMIN_PASSWORD),
    ];
    usual.extend(CHEAP);
    if database.starts_with("postgres") {
        usual.push(("--database-connections", "4"));
    }
    if !flags.contains(&"--master-key-file") {
        usual.push(("--master-key", MASTER_KEY));
    }
    // A flag may be there once.
    usual.retain(|(flag, _)| !flags.contains(flag));
    let all = usual.into_iter().flat_map(|(flag, value)| [flag, value]).chain(flags.iter().copied());
    let mut config = Config::from_flags(all).map_err(|error| error.to_string())?;
    config.http.workers = 1;
    Ok(config)
}

type Started = Result<(String, Arc<App>, ServerHandle, System), String>;

fn run(config: Config, clock: Clock, started: oneshot::Sender<Started>) {
    System::new().block_on(async move {
        match Server::start(config, clock).await {
            Ok(server) => {
                let app = Arc::clone(server.app());
                let _ = started.send(Ok((server.url(), app, server.handle(), System::current())));
                server.run().await.unwrap();
            }
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    });
}
