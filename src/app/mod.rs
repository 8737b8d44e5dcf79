//! The state of a server, shared by all requests, and its start.

mod error;

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use grantd_guard::Guard;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

pub use self::error::StartError;
use crate::{
    api_keys::ApiKeys,
    apply::{self, ApplyError, DesiredState},
    audit::SealKey,
    bootstrap::{self, FirstStart},
    clients::Clients,
    clock::Clock,
    config::{self, Config, DatabaseUrl, MasterKeySource},
    error::Error,
    ids::{ApiKeyId, UserId},
    keys::SigningKeys,
    limits::Limits,
    metrics::Metrics,
    names::{Audience, ClientId},
    passwords::{Passwords, Remembered},
    roles,
    secret::{self, MasterKey},
    series::Series,
    sessions::{RefreshTokens, Sessions},
    store::{self, Store, Transaction},
    sync::SyncState,
    throttle::Throttle,
    traces::Traces,
    users,
};

/// The least time for which tokens are accepted while the database is unreachable: a busy database may delay a sync.
const LEAST_STALENESS: Duration = Duration::from_secs(30);

/// The state of a server, shared by all requests.
#[derive(Debug)]
pub struct App {
    /// The validated settings.
    pub config: Config,
    /// The public URL: `iss` of all tokens.
    pub issuer: String,
    /// The default `aud`.
    pub audience: Audience,
    /// The source of the current time.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Hashes and verifies passwords.
    pub passwords: Arc<Passwords>,
    /// Budgets of failed logins.
    pub throttle: Throttle,
    /// Signs access tokens.
    pub keys: SigningKeys,
    /// Verifies access tokens.
    pub guard: Guard,
    /// Creates and verifies refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Seals the audit log.
    pub seal_key: SealKey,
    /// Reads users.
    pub users: users::Reader,
    /// Reads sessions and uses their refresh tokens.
    pub sessions: Sessions,
    /// Reads and caches clients.
    pub clients: Clients,
    /// Selects the failed client authentications that are recorded.
    pub client_failures: Series<ClientId>,
    /// Reads API keys.
    pub api_keys: ApiKeys,
    /// Selects the uses of API keys whose time is written.
    pub key_uses: Series<ApiKeyId>,
    /// Limits of each network.
    pub limits: Limits,
    /// Passwords that were verified a moment ago, for HTTP Basic.
    pub remembered: Remembered,
    /// Selects the logins by HTTP Basic that are recorded.
    pub basic_logins: Series<UserId>,
    /// The state of the sync with the database.
    pub sync: SyncState,
    /// What is counted for `GET /metrics`.
    pub metrics: Metrics,
    /// Starts spans of requests, statements and hashes.
    pub traces: Traces,
    /// Read by each request, which a lock such as that of `stopping` would slow down.
    is_stopping: AtomicBool,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Opens and migrates the database, and sets up an empty one. `desired`: the set-up file that is applied afterwards.
    pub async fn start(
        config: Config,
        desired: Option<&DesiredState>,
        clock: Clock,
    ) -> Result<(Self, Option<FirstStart>), StartError> {
        let passwords = Passwords::start(&config.hash, &config.passwords, &config.issuer())?;
        // Before anything is created: a start with another password or file is then a first start again.
        if !database_exists(&config).await? {
            bootstrap::check_password(&passwords, &config.bootstrap).await.map_err(StartError::Setup)?;
            if let Some(desired) = desired {
                desired.check_new(&passwords, config.bootstrap.administrator()).await?;
            }
        }
        if let DatabaseUrl::Sqlite(file) = &config.database.url {
            make_file(file)?;
        }
        let traces = match &config.telemetry.otlp_endpoint {
            Some(endpoint) => Traces::start(endpoint).map_err(StartError::Traces)?,
            None => Traces::default(),
        };
        let store = Store::open(&config.database, clock.clone()).await?;
        Self::with_store(store, passwords, config, clock, traces).await
    }

    /// Opens a database that was set up by an earlier start. Creates no file, no key and no administrator:
    /// [`StartError::NoDatabase`] where there is nothing to open.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        if !database_exists(&config).await? {
            return Err(StartError::NoDatabase);
        }
        let store = Store::open(&config.database, clock.clone()).await?;
        // The schema alone is not enough: the first start would create the keys and the administrator now.
        if roles::all_scopes(&mut store.read().await?).await?.is_empty() {
            store.close().await;
            return Err(StartError::NoDatabase);
        }
        let passwords = Passwords::start(&config.hash, &config.passwords, &config.issuer())?;
        let (app, _first) = Self::with_store(store, passwords, config, clock, Traces::default()).await?;
        Ok(app)
    }

    async fn with_store(
        store: Store,
        passwords: Passwords,
        config: Config,
        clock: Clock,
        traces: Traces,
    ) -> Result<(Self, Option<FirstStart>), StartError> {
        let now = clock.now();
        let (store, passwords) = (store.with_traces(&traces), passwords.with_traces(&traces));
        let (master_key, key_file) = match &config.master_key {
            MasterKeySource::Given { key, .. } => (key.clone(), None),
            MasterKeySource::Beside(file) => {
                let is_new = !file.exists();
                (key_beside(file, &store).await?, is_new.then(|| file.clone()))
            }
        };
        let passwords = passwords.with_firebase_keys(&store, &master_key);
        // Before `first_start`: with a wrong master key, no administrator is created.
        let keys = SigningKeys::open(&store, &master_key, &config, now).await;
        let keys = keys.map_err(|error| StartError::of_keys(error, &config.master_key))?;
        let refresh_key = SigningKeys::server_key(&store, &master_key, "refresh token").await?;
        let seal_key = SigningKeys::server_key(&store, &master_key, "audit seal").await?;
        let throttle_key = SigningKeys::server_key(&store, &master_key, "throttle").await?;
        let device_key = SigningKeys::server_key(&store, &master_key, "device token").await?;
        let first = bootstrap::first_start(&store, &passwords, &config.bootstrap, now).await;
        let first = first.map_err(StartError::Setup)?.map(|first| FirstStart { key_file, ..first });

        let issuer = config.issuer();
        let audience = config.tokens.audience.as_ref().unwrap_or(&issuer).parse::<Audience>();
        let audience = audience.map_err(|error| StartError::Audience(error.message))?;
        let of_guard = clock.clone();
        let mut guard = Guard::builder(&issuer)
            .audience(&issuer)
            .clock(move || of_guard.now().timestamp())
            .max_staleness(config.tokens.access_token_ttl.max(LEAST_STALENESS));
        if audience.as_str() != issuer {
            guard = guard.audience(audience.as_str());
        }
        let app = Self {
            guard: guard.keys(&keys.jwk_set())?,
            refresh_tokens: RefreshTokens::new(&refresh_key),
            seal_key: SealKey::new(&seal_key),
            throttle: Throttle::new(&store, &config.throttle, config.hash.wait, &throttle_key, &device_key),
            users: users::Reader::new(store.clone()),
            sessions: Sessions::new(&store),
            clients: Clients::new(&store),
            client_failures: Series::of(TimeDelta::hours(1)),
            api_keys: ApiKeys::new(&store),
            key_uses: Series::of(TimeDelta::minutes(1)),
            limits: Limits::new(&config),
            remembered: Remembered::start()?,
            basic_logins: Series::of(TimeDelta::minutes(1)),
            sync: SyncState::default(),
            metrics: Metrics::default(),
            traces,
            is_stopping: false.into(),
            stopping: watch::Sender::new(false),
            config,
            issuer,
            audience,
            clock,
            store,
            passwords: Arc::new(passwords),
            keys,
        };
        // The first sync before the first request: a server without revocations would accept revoked tokens.
        app.sync_caches(&app.store).await.map_err(|error| match error {
            Error::Store(error) => StartError::Store(error),
            other => StartError::Setup(other),
        })?;
        Ok((app, first))
    }

    /// Runs a change in a transaction, and then syncs this server's caches.
    ///
    /// Once the transaction has committed, the change is done. A sync that fails is logged, and repeated by the next
    /// poll. It never turns the result into an error, since the caller would retry a change that was made.
    pub async fn write<T>(&self, work: impl AsyncFn(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        let done = self.store.transact(work).await?;
        // Before the response: the next request of the same caller must see the change on this server.
        match tokio::time::timeout(self.config.database.timeout, self.sync_caches(&self.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a change was made, and the caches were not synced after it"),
            Err(_elapsed) => tracing::warn!("a change was made, and syncing the caches after it takes too long"),
        }
        Ok(done)
    }

    /// Applies a set-up file.
    pub(crate) async fn apply(&self, desired: &DesiredState) -> Result<(), ApplyError> {
        let changes = match apply::prepare(&self.store, &self.passwords, desired).await? {
            Some(prepared) => {
                let done = self.write(async |tx| prepared.apply(tx, self.now()).await).await;
                done.map_err(|error| prepared.explain(error))?
            }
            None => Vec::new(),
        };
        let file = self.config.apply.as_deref().unwrap_or(Path::new("")).display();
        tracing::info!(%file, changes = changes.len(), "the set-up file was applied");
        Ok(())
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Refuses new requests from now on, and tells waiting ones, such as long polls, that the server is shutting down.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.stopping.send_replace(true);
    }

    /// Returns whether the server is shutting down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Waits until the server shuts down.
    pub(crate) async fn stopping(&self) {
        // An error means that the sender, and so the app, was dropped.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// Returns whether the database exists and has a schema. Creates nothing.
async fn database_exists(config: &Config) -> Result<bool, StartError> {
    // Before SQLite opens the file: it would write the log beside it into the database.
    if let DatabaseUrl::Sqlite(file) = &config.database.url {
        store::check_wal(file)?;
    }
    Ok(store::exists(&config.database).await?)
}

/// Creates the database file and its directory, readable by this user only, since it will have password hashes. SQLite
/// creates its other files with the same mode.
fn make_file(file: &Path) -> Result<(), StartError> {
    make_directory(file)?;
    let made = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    made.map(drop).map_err(|error| StartError::File { path: file.to_owned(), error })
}

/// Creates the directory of a SQLite file if it is missing.
pub(crate) fn make_directory(file: &Path) -> Result<(), StartError> {
    let Some(path) = file.parent().filter(|path| !path.as_os_str().is_empty()) else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| StartError::Directory { path: path.to_owned(), error })
}

/// Reads the master key from the file beside the database. Generates the key of a new database, never of one with keys.
async fn key_beside(path: &Path, store: &Store) -> Result<MasterKey, StartError> {
    let problem = |problem: String| StartError::KeyFile { path: path.to_owned(), problem };
    let is_new = !crate::keys::any(&mut store.read().await?).await?;
    match (path.exists(), is_new) {
        // The key may have been prepared. Or the database was lost, which should not pass for a first start.
        (true, true) => tracing::warn!(
            "{} was found, and a new database was created beside it. If there was a database before, stop the server and \
             restore it from your backup",
            path.display()
        ),
        (true, false) => {}
        // A new key cannot open the secrets of the database. Writing it would only hide that the right key is missing.
        (false, false) => return Err(StartError::NoMasterKey(path.to_owned())),
        (false, true) => {
            write_new_key(path, &MasterKey::generate()?).map_err(|error| problem(error.to_string()))?;
        }
    }
    config::read_master_key(path).map_err(problem)
}

/// Writes a new key file atomically. It never overwrites a file that another server has just created.
fn write_new_key(path: &Path, key: &MasterKey) -> io::Result<()> {
    let unique = u64::from_ne_bytes(secret::random().map_err(io::Error::other)?);
    let draft = path.with_extension(format!("key.{unique:x}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{}", key.to_text().expose_secret()).and_then(|()| file.sync_all());
    // A hard link, not a rename, fails if the file exists: of two servers that start at once, both then read the same
    // key.
    let placed = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    placed?;
    // Syncs the directory too: after a power loss the file would be durable and its name lost.
    fs::File::open(path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}
