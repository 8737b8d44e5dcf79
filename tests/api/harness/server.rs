//! A server in this process: on a free loopback port, with a database of its own, cheap hashes, and a manual clock.

use std::{future::Future, sync::Arc, thread::JoinHandle};

use actix_web::rt::System;
use chrono::{DateTime, Duration, Utc};
use grantd::{
    app::App,
    clock::Clock,
    config::{Config, Timeouts},
    server::{Server, Stop},
};
use tokio::sync::oneshot;

use super::{Database, Form, Request};

/// The administrator's password, with a non-ASCII character.
pub(crate) const ADMIN_PASSWORD: &str = "correct horse bättery";
/// The master key of all test databases: 32 bytes of `k`.
pub(crate) const MASTER_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s";
/// Parameters for the cheapest hashes.
const CHEAP: [(&str, &str); 3] = [("--hash-memory", "8KiB"), ("--hash-iterations", "1"), ("--hash-threads", "1")];

/// Returns the time at which the clocks start: 2026-01-31T12:00:00Z.
pub(crate) fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_769_860_800, 0).unwrap()
}

/// A running server. On drop it is stopped, and its database deleted.
pub(crate) struct TestServer {
    pub(crate) clock: Clock,
    pub(crate) app: Arc<App>,
    url: String,
    client: reqwest::Client,
    running: Option<Running>,
    // Last, since fields are dropped in order: the database is deleted after the server has stopped.
    database: Option<Database>,
}

struct Running {
    stop: Stop,
    system: System,
    thread: JoinHandle<()>,
}

impl TestServer {
    /// Starts a server on an empty database.
    pub(crate) async fn start(database: Database) -> Self {
        Self::with(database, &[]).await
    }

    /// Starts a server with additional flags, or other values for the usual ones.
    pub(crate) async fn with(database: Database, flags: &[&str]) -> Self {
        let url = database.url().to_owned();
        let mut server = Self::on(&url, flags, Clock::manual(beginning())).await.unwrap();
        server.database = Some(database);
        server
    }

    /// Starts a server that gives callers other time limits.
    pub(crate) async fn with_timeouts(database: Database, flags: &[&str], timeouts: Timeouts) -> Self {
        let mut config = config(database.url(), flags).unwrap();
        config.http.timeouts = timeouts;
        let mut server = Self::of(config, Clock::manual(beginning())).await.unwrap();
        server.database = Some(database);
        server
    }

    /// Starts a server on a database that it does not own. Returns the error if it does not start.
    pub(crate) async fn on(database: &str, flags: &[&str], clock: Clock) -> Result<Self, String> {
        Self::of(config(database, flags)?, clock).await
    }

    /// Starts a server with this configuration, on a database that it does not own.
    pub(crate) async fn of(config: Config, clock: Clock) -> Result<Self, String> {
        let (started, start) = oneshot::channel();
        let of_server = clock.clone();
        // In a thread of its own: a test that blocks its thread must not stop the server from responding.
        let thread = std::thread::spawn(move || run(config, of_server, started));
        match start.await.map_err(|_| "the server's thread panicked".to_owned())? {
            Ok((url, app, stop, system)) => {
                let client = super::http_client();
                let running = Some(Running { stop, system, thread });
                Ok(Self { clock, app, url, client, running, database: None })
            }
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Returns the base URL, without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the database.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Stops the server and returns its database, on which another server may start.
    pub(crate) fn stop(mut self) -> Database {
        self.shut_down();
        self.database.take().unwrap()
    }

    /// Stops the server as SIGTERM does. Returns the number of requests that were cut off.
    pub(crate) async fn stop_gracefully(mut self) -> usize {
        let running = self.running.take().unwrap();
        let cut_off = running.stop.gracefully().await;
        running.thread.join().unwrap();
        cut_off
    }

    /// Advances the clock.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Runs work with the functions of the server, in its thread: connections belong to the runtime that opened them.
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

    /// Returns a request to build.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(&self.client, method, &format!("{}{path}", self.url))
    }

    /// Returns a `GET` request to build.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// Returns a request `POST /token` with these parameters.
    pub(crate) fn token(&self, form: &Form) -> Request {
        self.request("POST", "/token").form(form)
    }

    /// Logs a user in at the client `default`, and returns the access token, with all scopes of the user.
    pub(crate) async fn login(&self, username: &str, password: &str) -> String {
        let answer = self.token(&Form::password(username, password)).send().await.json_with(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Logs a user in at the client `default` with this scope, and returns the access token.
    pub(crate) async fn login_for(&self, username: &str, password: &str, scope: &str) -> String {
        let form = Form::password(username, password).and("scope", scope);
        let answer = self.token(&form).send().await.json_with(200);
        assert_eq!(answer["scope"], scope);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns an access token of a client for itself.
    pub(crate) async fn machine(&self, id: &str, secret: &str, scope: &str) -> String {
        let form = Form::of(&[("grant_type", "client_credentials"), ("scope", scope)]);
        let answer = self.token(&form).basic(id, secret).send().await.json_with(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Logs the administrator in, and returns the access token.
    pub(crate) async fn admin(&self) -> String {
        self.login("admin", ADMIN_PASSWORD).await
    }

    fn shut_down(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.stop.at_once();
        let ended_well = running.thread.join().is_ok();
        assert!(ended_well || std::thread::panicking(), "the server's thread panicked");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Returns the settings of a test server.
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
    // A flag may be set only once: those of the test replace the usual ones.
    usual.retain(|(flag, _)| !flags.contains(flag));
    let all = usual.into_iter().flat_map(|(flag, value)| [flag, value]).chain(flags.iter().copied());
    let mut config = Config::from_flags(all).map_err(|error| error.to_string())?;
    config.http.workers = 1;
    Ok(config)
}

type Started = Result<(String, Arc<App>, Stop, System), String>;

fn run(config: Config, clock: Clock, started: oneshot::Sender<Started>) {
    System::new().block_on(async move {
        match Box::pin(Server::start(config, clock)).await {
            Ok(server) => {
                let app = Arc::clone(server.app());
                let _ = started.send(Ok((server.url(), app, server.stop(), System::current())));
                server.run().await.unwrap();
            }
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    });
}
