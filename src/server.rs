//! The server: its addresses, its workers, how it stops.

mod connections;
mod http2;
mod timed;
mod workers;

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{dev, rt, web};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use self::workers::{Pulse, Stop};
use self::{connections::Listening, workers::Workers};
pub use crate::http::tls::Certificate;

use crate::{
    app::{App, StartError},
    apply,
    audit::{Progress, Sealer},
    bootstrap::FirstStart,
    cleanup,
    clock::Clock,
    config::Config,
    http,
    store::Store,
};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 2048;
/// How long the database may take to close: SQLite writes its log into the file.
const CLOSE: Duration = Duration::from_secs(10);
/// How often a changed certificate is looked for.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(2);
/// How long a failed change of the keys rests before it is tried again.
const KEYS_REST: Duration = Duration::from_secs(10);
/// How often the database is polled for changes: a revocation reaches all servers within this.
const SYNC: Duration = Duration::from_millis(200);
/// How often audit events are sealed, and how often an open transaction is polled that may still add some.
const SEALS: Duration = Duration::from_mins(1);
const OPEN_TRANSACTION: Duration = Duration::from_millis(500);
/// How long the last seal of a server may take: another server's transaction may be open.
const LAST_SEAL: Duration = Duration::from_secs(5);

/// A server that listens, and answers once it is run.
pub struct Server {
    app: Arc<App>,
    first_start: Option<FirstStart>,
    certificate: Option<Arc<Certificate>>,
    workers: Arc<Workers>,
    /// Steps of the sync.
    turns: watch::Sender<()>,
    inner: dev::Server,
}

impl Server {
    /// Binds the addresses, opens the database and makes what an empty one needs, and what a set-up file says.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        Box::pin(Self::start_on(Vec::new(), config, clock)).await
    }

    /// Starts on sockets that listen already, on the addresses of the settings; binds these if there are none.
    pub async fn start_on(sockets: Vec<TcpListener>, mut config: Config, clock: Clock) -> Result<Self, StartError> {
        let certificate = match &config.tls.files {
            Some((chain, key)) => Some(Certificate::read(chain, key, clock.clone()).map_err(StartError::Tls)?),
            None => None,
        };
        let listeners = match sockets.len() {
            0 => config.http.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?,
            _ => sockets,
        };
        config.http.listen = addresses(&listeners, &config.http.listen);
        let of_metrics = config.telemetry.metrics_address.map(listen_for_metrics).transpose()?;
        if let Some(listener) = &of_metrics {
            config.telemetry.metrics_address = listener.local_addr().ok().or(config.telemetry.metrics_address);
        }
        let options = apply::Options { given_secrets: true, ..apply::Options::default() };
        let desired = config.apply.as_deref().map(|file| apply::DesiredState::read(file, options)).transpose()?;
        let (mut app, first_start) = App::start(config, desired.as_ref(), clock).await?;
        if let Some(desired) = &desired {
            app.apply(desired).await?;
        }
        app.metrics.certificate_not_after = certificate.as_ref().map(|certificate| certificate.expiry());
        let app = Arc::new(app);
        let workers = Workers::new(app.config.http.workers * (listeners.len() + usize::from(of_metrics.is_some())));
        let inner = serve(&app, &workers, listeners, certificate.as_ref(), of_metrics)?;
        let turns = watch::Sender::new(());
        let server = Self { app, first_start, certificate, workers, turns, inner };
        server.log_start();
        Ok(server)
    }

    /// The URL of the first address.
    #[must_use]
    pub fn url(&self) -> String {
        self.urls().next().unwrap_or_default()
    }

    /// The URLs of all addresses.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        self.app.config.urls()
    }

    /// What the server works with.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// What the first start of an empty database made.
    #[must_use]
    pub fn first_start(&self) -> Option<&FirstStart> {
        self.first_start.as_ref()
    }

    /// Returns the certificate that is shown to callers; `None` without TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// Returns the URL of the address for metrics; `None`: they are on the main addresses.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        self.app.config.telemetry.metrics_address.map(|address| format!("http://{address}/metrics"))
    }

    /// Returns what stops the server.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop { app: Arc::clone(&self.app), workers: Arc::clone(&self.workers), server: self.inner.handle() }
    }

    /// Returns the health of the server.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse { workers: Arc::clone(&self.workers), turns: self.turns.subscribe() }
    }

    fn log_start(&self) {
        let Self { app, .. } = self;
        let database = if app.store.is_postgres() { "Postgres" } else { "SQLite" };
        let listeners = self.urls().collect::<Vec<_>>().join(" ");
        let (version, issuer, metrics) = (env!("CARGO_PKG_VERSION"), &app.issuer, self.metrics_url());
        tracing::info!(version, listeners, issuer, database, metrics, "server started");
    }

    /// Answers requests until it is stopped.
    pub fn run(self) -> impl Future<Output = io::Result<()>> {
        let Self { app, certificate, turns, inner, .. } = self;
        async move {
            let mut duties = vec![rt::spawn(sync(Arc::clone(&app), turns)), rt::spawn(cleanup::run(Arc::clone(&app)))];
            duties.push(rt::spawn(seal(Arc::clone(&app))));
            duties.extend(certificate.map(|certificate| rt::spawn(refresh(certificate))));
            let done = inner.await;
            duties.iter().for_each(rt::task::JoinHandle::abort);
            // A request that was cut off may hold a connection that is never returned.
            let close = async {
                app.store.leave_workers();
                let (store, mut sealer) = (app.store.aside(), Sealer::of_all());
                if rt::time::timeout(LAST_SEAL, seal_events(&app, &store, &mut sealer)).await.is_err() {
                    tracing::warn!("the newest audit events are left for the next server to seal");
                }
                app.store.empty_log().await;
                app.store.close().await;
            };
            let _ = rt::time::timeout(CLOSE, close).await;
            app.traces.stop().await;
            done
        }
    }
}

/// Syncs the caches with the database, and rotates keys on schedule. Sends after each step, done or failed.
async fn sync(app: Arc<App>, turns: watch::Sender<()>) {
    let store = app.store.aside();
    let mut ticks = rt::time::interval(SYNC);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failing, mut keys_failed_at) = (false, None::<Instant>);
    loop {
        ticks.tick().await;
        // Logs it. The caches are synced with the old file as long as the server runs.
        let _ = store.check_file().await;
        turns.send_replace(());
        let mut done = app.sync_caches(&store).await;
        turns.send_replace(());
        if done.is_ok() && keys_failed_at.is_none_or(|at| at.elapsed() > KEYS_REST) {
            done = app.rotate_keys(&store).await;
            keys_failed_at = done.is_err().then(Instant::now);
        } else if done.is_ok() && keys_failed_at.is_some() {
            // It is not known to be over.
            continue;
        }
        match &done {
            Err(error) if !failing => tracing::warn!(%error, "the caches cannot be synced with the database"),
            Ok(()) if failing => tracing::info!("the caches are synced with the database again"),
            _ => {}
        }
        failing = done.is_err();
    }
}

/// Seals audit events.
async fn seal(app: Arc<App>) {
    let store = app.store.aside();
    let mut sealer = Sealer::default();
    let mut ticks = rt::time::interval(SEALS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        seal_events(&app, &store, &mut sealer).await;
    }
}

async fn seal_events(app: &App, store: &Store, sealer: &mut Sealer) {
    loop {
        match sealer.step(store, &app.seal_key, &app.clock).await {
            Ok(Progress::Done) => return app.metrics.note_sealed(app.now()),
            Ok(Progress::Waiting) => rt::time::sleep(OPEN_TRANSACTION).await,
            Ok(Progress::More) => rt::task::yield_now().await,
            Err(error) => return tracing::warn!(%error, "audit events cannot be sealed now"),
        }
    }
}

async fn refresh(certificate: Arc<Certificate>) {
    let mut ticks = rt::time::interval(CERTIFICATE_CHECK);
    loop {
        ticks.tick().await;
        certificate.refresh();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's 128 is little for callers that all come back at once.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    Ok(listener)
}

fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::ListenForMetrics { address, error })
}

/// As they are: with a free port in the place of 0.
fn addresses(listeners: &[TcpListener], asked: &[SocketAddr]) -> Vec<SocketAddr> {
    listeners.iter().zip(asked).map(|(listener, asked)| listener.local_addr().unwrap_or(*asked)).collect()
}

fn serve(
    app: &Arc<App>,
    workers: &Arc<Workers>,
    listeners: Vec<TcpListener>,
    certificate: Option<&Arc<Certificate>>,
    of_metrics: Option<TcpListener>,
) -> Result<dev::Server, StartError> {
    let tls = certificate.map(Certificate::server_config).transpose().map_err(StartError::Tls)?;
    let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let documents = web::Data::new(http::Documents::default());
    // Not the graceful stop of actix, which looks for the end of the connections once a second: see `Stop`.
    let mut server = dev::Server::build().workers(app.config.http.workers).disable_signals();
    for (listener, address) in listeners.into_iter().zip(&app.config.http.listen) {
        let (app, documents, workers) = (Arc::clone(app), web::Data::clone(&documents), Arc::clone(workers));
        let listening = Listening { app, documents, tls: tls.clone(), workers };
        let added = listening.add(server, listener);
        server = added.map_err(|error| StartError::Listen { address: *address, error })?;
    }
    if let (Some(listener), Some(address)) = (of_metrics, app.config.telemetry.metrics_address) {
        let added = connections::add_metrics(Arc::clone(app), Arc::clone(workers), server, listener);
        server = added.map_err(|error| StartError::ListenForMetrics { address, error })?;
    }
    Ok(server.run())
}
