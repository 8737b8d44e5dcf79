//! `grantd serve`: what it prints at the start, and how it stops.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _},
    pin::pin,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, notify::Notifier, output::print, sockets::Sockets};
use crate::{
    app::{self, StartError},
    bootstrap::FirstStart,
    clock::Clock,
    config::{Config, DatabaseUrl},
    server::{Certificate, Pulse, Server},
    store::ServerLock,
    telemetry,
};

/// Runs the server until it is told to stop.
pub(super) async fn serve(config: Config, sockets: Sockets) -> Outcome {
    let _log = telemetry::init(&config.log);
    // The first: SIGHUP does not end the process, and a start that waits for a database can be stopped, also as the first process of
    // a container, which no signal ends that it does not handle.
    let mut signals = Signals::listen(Hangup::reloads()?)?;
    // Before the addresses are bound: a second server is told about the first one, not about its port.
    let mut lock = lock(&config.database.url)?;
    if !sockets.is_empty() {
        tracing::info!("the service manager has opened the sockets: GRANTD_LISTEN is not used");
    }
    let server = tokio::select! {
        server = Server::start_on(sockets.into_listeners(), config, Clock::system()) => server?,
        () = signals.stop(Reload::default()) => {
            tracing::info!("stopped before the server was ready");
            return Ok(());
        }
    };
    if let Some(lock) = &mut lock {
        lock.note_files()?;
    }
    print(&greeting(&server))?;
    if server.first_start().is_none() && server.app().config.bootstrap.admin_password.is_some() {
        tracing::info!(
            "GRANTD_ADMIN_PASSWORD is ignored: the database is not empty. Set a password with `grantd user passwd NAME`"
        );
    }
    run(server, signals).await
}

/// Answers requests until a signal comes, and then those that are under way.
pub(super) async fn run(server: Server, mut signals: Signals) -> Outcome {
    let (stop, pulse) = (server.stop(), server.pulse());
    let certificate = server.certificate().cloned();
    let status = format!("listening on {}", server.urls().collect::<Vec<_>>().join(" "));
    let mut running = pin!(server.run());
    let notifier = Notifier::from_env();
    let mut reports = pin!(report(&notifier, &status, pulse));
    let reload = Reload { certificate: certificate.as_deref(), told: Some((&notifier, &status)) };
    tokio::select! {
        done = &mut running => return Ok(done?),
        never = &mut reports => match never {},
        () = signals.stop(reload) => tracing::info!("shutting down: waiting for requests in progress"),
    }
    notifier.stopping("waiting for requests in progress");
    let stopped = async {
        let (done, cut_off) = tokio::join!(running, stop.gracefully());
        done.map(|()| cut_off)
    };
    // The second signal ends the process.
    let cut_off = tokio::select! {
        cut_off = stopped => cut_off?,
        never = &mut reports => match never {},
        () = signals.stop(Reload { told: None, ..reload }) => {
            return Err("stopped by a second signal; requests in progress were aborted".into());
        }
    };
    match cut_off {
        0 => Ok(()),
        1 => Err("a request was cut off: it took longer than GRANTD_SHUTDOWN_TIMEOUT".into()),
        many => Err(format!("{many} requests were cut off: they took longer than GRANTD_SHUTDOWN_TIMEOUT").into()),
    }
}

/// Tells the service manager when the server is ready and, if it has a watchdog, as long as the server is healthy.
async fn report(notifier: &Notifier, status: &str, mut pulse: Pulse) -> Infallible {
    pulse.ready().await;
    notifier.ready(status);
    let Some(watchdog) = notifier.watchdog() else { return std::future::pending().await };
    loop {
        // Half of the time is for the check itself, and for a busy machine.
        tokio::time::sleep(watchdog / 2).await;
        pulse.beat().await;
        notifier.alive();
    }
}

/// Raises the number of files that the process may open, as far as the system allows: each connection is one, and the usual limit
/// of 1,024 would let a few idle callers keep out all others.
pub(super) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that fails, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Locks a SQLite file for this server. Commands take no lock: they work beside a running server.
fn lock(url: &DatabaseUrl) -> Result<Option<ServerLock>, StartError> {
    let DatabaseUrl::Sqlite(file) = url else { return Ok(None) };
    app::make_directory(file)?;
    Ok(Some(ServerLock::acquire(file)?))
}

/// SIGHUP: the certificate is to be read again, or the terminal was closed.
pub(super) struct Hangup {
    signal: Signal,
    stops: bool,
    in_terminal: bool,
}

impl Hangup {
    /// Catches the signal from now on, and reloads the certificate.
    fn reloads() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, stops: false, in_terminal: io::stderr().is_terminal() })
    }

    /// Catches the signal from now on, and stops the server.
    pub(super) fn stops() -> io::Result<Self> {
        Ok(Self { stops: true, ..Self::reloads()? })
    }

    /// Handles signals until one that stops the server.
    async fn stop(&mut self, reload: Reload<'_>) {
        loop {
            self.signal.recv().await;
            // A terminal that was closed is none any more.
            if self.stops || (self.in_terminal && !io::stderr().is_terminal()) {
                return;
            }
            reload.run();
        }
    }
}

/// What SIGHUP does.
#[derive(Clone, Copy, Default)]
struct Reload<'a> {
    certificate: Option<&'a Certificate>,
    /// Who is told that the server reads the certificate, and the status afterwards.
    told: Option<(&'a Notifier, &'a str)>,
}

impl Reload<'_> {
    fn run(self) {
        if let Some((notifier, _)) = self.told {
            notifier.reloading();
        }
        if let Some(certificate) = self.certificate {
            certificate.reload();
        } else if self.told.is_some() {
            tracing::info!("SIGHUP is ignored: there is no certificate to read again");
        }
        if let Some((notifier, status)) = self.told {
            notifier.ready(status);
        }
    }
}

/// The signals that stop the server, and the one that does not.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Hangup,
}

impl Signals {
    /// Catches signals from now on.
    pub(super) fn listen(hangup: Hangup) -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Waits until the server should stop.
    async fn stop(&mut self, reload: Reload<'_>) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.hangup.stop(reload) => {}
        }
    }
}

/// Returns the addresses and, at a first start, the administrator. Printed in one write, so that the password is there
/// when the address is.
fn greeting(server: &Server) -> String {
    let database = &server.app().config.database.url;
    let first = server.first_start().map(|first| first_start_text(first, database, &server.url()));
    listening(server).chain(first).collect::<Vec<_>>().join("\n")
}

/// A line for each address.
pub(super) fn listening(server: &Server) -> impl Iterator<Item = String> {
    let version = env!("CARGO_PKG_VERSION");
    let lines = server.urls().map(move |url| format!("grantd {version} listening on {url}"));
    lines.chain(server.metrics_url().map(move |url| format!("grantd {version} serving metrics at {url}")))
}

/// Returns the text of a first start. The generated password follows directly after the word `password`.
fn first_start_text(first: &FirstStart, database: &DatabaseUrl, url: &str) -> String {
    let (name, created) = (&first.admin_username, created_text(first, database));
    if !first.admin_made {
        return format!("\nThis was the first start. {created}");
    }
    // An address of all interfaces is not one to call, and plain HTTP is for this machine alone.
    let url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
    let get = format!("grantd token get --url {url} --username {name}");
    format!(
        "\nThis was the first start. {created}\n\
         Get a token, which asks for the password, and call a route with it:\n\n  \
         {get}\n  \
         curl {url}/users/me -H \"$({get} --header)\"\n\n\
         Or log in with curl alone (replace PASSWORD):\n\n  \
         curl {url}/token -d grant_type=password -d username={name} --data-urlencode 'password=PASSWORD'\n\n\
         All routes in the browser: {url}/docs\n"
    )
}

/// Returns what was created in an empty database, with its files and the administrator.
pub(super) fn created_text(first: &FirstStart, database: &DatabaseUrl) -> String {
    let name = &first.admin_username;
    let database = match database {
        DatabaseUrl::Sqlite(file) => format!("Created the database {}", file.display()),
        DatabaseUrl::Postgres(_) => format!("Created the tables in {database}"),
    };
    let files = match &first.key_file {
        Some(file) => format!(
            "{database} and the master key {}.\nBack up the master key: a database cannot be opened without it.",
            file.display()
        ),
        None => format!("{database}."),
    };
    if !first.admin_made {
        return format!(
            "{files}\nThere is no administrator yet; create one:\n\n  grantd user create {name} --role admin\n"
        );
    }
    let secret = match &first.admin_password {
        Some(password) => format!("  password: {}\n\nIt is not shown again.", password.expose_secret()),
        None => "  password: as in GRANTD_ADMIN_PASSWORD".to_owned(),
    };
    format!("{files}\nThe administrator:\n\n  user: {name}\n{secret}\n")
}
