//! `grantd serve`: what it prints at the start, and how it stops.

use actix_web::{dev::ServerHandle, rt};
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, output::print};
use crate::{clock::Clock, config::Config, server::Server, setup::FirstStart, telemetry};

/// Runs the server until it is told to stop.
pub(super) async fn serve(config: Config) -> Outcome {
    telemetry::init(&config.log);
    let server = Server::start(config, Clock::system()).await?;
    for url in server.urls() {
        print(&format!("grantd {} listening on {url}", env!("CARGO_PKG_VERSION")))?;
    }
    if let Some(first) = server.first_start() {
        print(&first_start_text(first, &server.url()))?;
    }
    let stopping = rt::spawn(stop_on_signal(server.handle()));
    let done = server.run().await;
    stopping.abort();
    Ok(done?)
}

/// The first signal lets requests end that are under way, the second does not wait for them.
async fn stop_on_signal(server: ServerHandle) {
    let signals = signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => return tracing::error!(%error, "signals cannot be heard: only the system can end this process"),
    };
    let mut graceful = true;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!(graceful, "stopping");
        // Without waiting, so that the next signal is heard.
        drop(rt::spawn(server.stop(graceful)));
        graceful = false;
    }
}

/// What a first start says. The generated password is the first thing after the word.
pub(super) fn first_start_text(first: &FirstStart, url: &str) -> String {
    let name = &first.admin_username;
    if !first.admin_made {
        return format!(
            "\nThis was the first start. There is no administrator yet; make one:\n\n  \
             grantd user create {name} --role admin\n"
        );
    }
    let secret = match &first.admin_password {
        Some(password) => format!("  password: {}\n\nIt is not shown again.", password.expose_secret()),
        None => "  password: as in GRANTD_ADMIN_PASSWORD".to_owned(),
    };
    format!(
        "\nThis was the first start, and an administrator was made:\n\n  user: {name}\n{secret}\n\n\
         A token, and a call with it (with the password in the place of PASSWORD):\n\n  \
         TOKEN=$(curl -s {url}/token -d grant_type=password -d username={name} \\\n      \
         --data-urlencode 'password=PASSWORD' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n  \
         curl -s {url}/users/me -H \"Authorization: Bearer $TOKEN\"\n\n\
         Every route in the browser: {url}/docs\n"
    )
}
