//! `grantd serve`: what it prints at the start, and how it stops.

use std::{pin::pin, sync::Arc};

use actix_web::rt;
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, output::print};
use crate::{bootstrap::FirstStart, clock::Clock, config::Config, server::Server, telemetry};

/// Runs the server until it is told to stop.
pub(super) async fn serve(config: Config) -> Outcome {
    let _log = telemetry::init(&config.log);
    let server = Server::start(config, Clock::system()).await?;
    // Before the addresses are printed: a caller that reads them may stop the server at once.
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    print(&greeting(&server))?;
    if server.first_start().is_none() && server.app().config.bootstrap.admin_password.is_some() {
        tracing::info!(
            "GRANTD_ADMIN_PASSWORD is ignored: the database is not empty. Set a password with `grantd user passwd NAME`"
        );
    }
    let (handle, app) = (server.handle(), Arc::clone(server.app()));
    let mut running = pin!(server.run());
    tokio::select! {
        done = &mut running => return Ok(done?),
        () = signals.next() => tracing::info!("shutting down: waiting for requests in progress"),
    }
    app.stop();
    drop(rt::spawn(handle.stop(true)));
    // The server handles no signals while it stops: the second signal ends the process instead.
    tokio::select! {
        done = &mut running => Ok(done?),
        () = signals.next() => Err("stopped by a second signal; requests in progress were aborted".into()),
    }
}

/// The signals that stop the server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Returns the addresses and, at a first start, the administrator. Printed in one write, so that the password is there
/// when the address is.
fn greeting(server: &Server) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let lines = server.urls().map(|url| format!("grantd {version} listening on {url}"));
    let first = server.first_start().map(|first| first_start_text(first, &server.url()));
    lines.chain(first).collect::<Vec<_>>().join("\n")
}

/// Returns the text of a first start. The generated password follows directly after the word `password`.
pub(super) fn first_start_text(first: &FirstStart, url: &str) -> String {
    let name = &first.admin_username;
    if !first.admin_made {
        return format!(
            "\nThis was the first start. There is no administrator yet; create one:\n\n  \
             grantd user create {name} --role admin\n"
        );
    }
    let secret = match &first.admin_password {
        Some(password) => format!("  password: {}\n\nIt is not shown again.", password.expose_secret()),
        None => "  password: as in GRANTD_ADMIN_PASSWORD".to_owned(),
    };
    format!(
        "\nThis was the first start, and an administrator was created:\n\n  user: {name}\n{secret}\n\n\
         Get a token and call a route with it (replace PASSWORD):\n\n  \
         TOKEN=$(curl -s {url}/token -d grant_type=password -d username={name} \\\n      \
         --data-urlencode 'password=PASSWORD' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n  \
         curl -s {url}/users/me -H \"Authorization: Bearer $TOKEN\"\n\n\
         All routes in the browser: {url}/docs\n"
    )
}
