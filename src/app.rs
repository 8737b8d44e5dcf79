//! Everything that a request may need, and how it is built at the start.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use grantd_guard::{BuildError, Guard};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use crate::{
    apply::{self, ApplyError},
    bootstrap::{self, FirstStart},
    clients::{self, Clients},
    clock::Clock,
    config::{self, Config, DatabaseUrl, MasterKeySource},
    error::Error,
    keys::{KeysError, SigningKeys},
    names::Audience,
    passwords::{Passwords, PasswordsError},
    secret::{self, MasterKey, NoRandomness},
    sessions::{RefreshTokens, Sessions},
    store::{Store, StoreError, Transaction},
    sync::SyncState,
    users,
};

/// Tokens are accepted at least this long while the database is away: a busy one is late now and then.
const LEAST_STALENESS: Duration = Duration::from_secs(30);

/// Everything that a request may need.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub config: Config,
    /// The public URL: `iss` of all tokens.
    pub issuer: String,
    /// The default `aud`.
    pub audience: Audience,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Signs access tokens.
    pub keys: SigningKeys,
    /// Verifies access tokens.
    pub guard: Guard,
    /// Makes and checks refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Reads users.
    pub users: users::Reader,
    /// Reads sessions and uses their refresh tokens.
    pub sessions: Sessions,
    /// Reads and caches clients.
    pub clients: Clients,
    /// Which failures of clients are recorded.
    pub client_failures: clients::Failures,
    /// How far this server has synced its caches with the database.
    pub sync: SyncState,
    stopping: watch::Sender<bool>,
}

/// Why the server does not start. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("DATABASE_URL: {0}")]
    Store(#[from] StoreError),
    /// The directory of the SQLite file cannot be made.
    #[error("DATABASE_URL: the directory {} cannot be made: {error}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The SQLite file cannot be written.
    #[error("DATABASE_URL: the file {} cannot be written: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is a database and not the key that its secrets are sealed under.
    #[error(
        "GRANTD_MASTER_KEY: the database has signing keys, and {} is missing. Put the file back from your backup, or set \
         GRANTD_MASTER_KEY: without the key that it was made with, a database is of no use",
        .0.display()
    )]
    NoMasterKey(PathBuf),
    /// The key file cannot be used.
    #[error("GRANTD_MASTER_KEY: the key file {}: {problem}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Passwords(#[from] PasswordsError),
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The first start of an empty database failed.
    #[error("the first start failed, and nothing was made: {0}")]
    Setup(Error),
    /// The set-up file cannot be applied.
    #[error("GRANTD_APPLY: {0}")]
    Apply(#[from] ApplyError),
    /// The default audience is malformed.
    #[error("GRANTD_AUDIENCE: {0}")]
    Audience(String),
    /// Tokens cannot be checked.
    #[error("GRANTD_ISSUER: {0}")]
    Guard(#[from] BuildError),
    /// An address cannot be listened on.
    #[error("GRANTD_LISTEN: {}", listen_problem(*address, error))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("GRANTD_TLS_CERT, GRANTD_TLS_KEY: {0}")]
    Tls(String),
}

/// Says why an address cannot be listened on, and what to do.
fn listen_problem(address: SocketAddr, error: &io::Error) -> String {
    let other = "with --listen or GRANTD_LISTEN";
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is already in use. Stop the process that listens there, or choose another address {other}, such \
             as --listen :{}",
            address.port().checked_add(1).unwrap_or(8080)
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to listen on {address}: ports below 1024 often need a privilege. Choose another address {other}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is not an address of this machine. Choose another {other}, such as 127.0.0.1:8080")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

impl App {
    /// Opens the database and brings it up to date; what an empty one needs is made. `issuer` is used where the settings
    /// have none.
    pub async fn start(config: Config, issuer: String, clock: Clock) -> Result<(Self, Option<FirstStart>), StartError> {
        let now = clock.now();
        if let DatabaseUrl::Sqlite(file) = &config.database.url {
            make_file(file)?;
        }
        let store = Store::open(&config.database, clock.clone()).await?;
        let master_key = match &config.master_key {
            MasterKeySource::Given(key) => key.clone(),
            MasterKeySource::Beside(file) => key_beside(file, &store).await?,
        };
        let passwords = Passwords::start(&config.hash)?;
        let keys = SigningKeys::open(&store, &master_key, &config, now).await?;
        let refresh_key = SigningKeys::server_key(&store, &master_key, "refresh token").await?;
        let first =
            bootstrap::first_start(&store, &passwords, &config.bootstrap, now).await.map_err(StartError::Setup)?;

        let issuer = config.http.issuer.clone().unwrap_or(issuer);
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
            users: users::Reader::new(store.clone()),
            sessions: Sessions::new(&store),
            clients: Clients::new(&store),
            client_failures: clients::Failures::default(),
            sync: SyncState::default(),
            stopping: watch::Sender::new(false),
            config,
            issuer,
            audience,
            clock,
            store,
            passwords,
            keys,
        };
        app.sync_caches(&app.store).await.map_err(|error| match error {
            Error::Store(error) => StartError::Store(error),
            other => StartError::Setup(other),
        })?;
        Ok((app, first))
    }

    /// Makes a change in a transaction, and then syncs this server's caches.
    ///
    /// When the transaction has committed, the change is done: a sync that fails is logged, made up for a moment later, and
    /// never turns the success into a failure.
    pub async fn write<T>(&self, work: impl AsyncFn(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        let done = self.store.transact(work).await?;
        match tokio::time::timeout(self.config.database.timeout, self.sync_caches(&self.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a change was made, and the caches were not synced after it"),
            Err(_elapsed) => tracing::warn!("a change was made, and syncing the caches after it takes too long"),
        }
        Ok(done)
    }

    /// Applies the set-up file of the settings.
    pub(crate) async fn apply_file(&self) -> Result<(), ApplyError> {
        let Some(file) = &self.config.apply else { return Ok(()) };
        let options = apply::Options { given_secrets: true, ..apply::Options::default() };
        let changes = match apply::prepare(&self.store, &self.passwords, file, options).await? {
            Some(prepared) => self.write(async |tx| prepared.apply(tx, self.now()).await).await?,
            None => Vec::new(),
        };
        tracing::info!(file = %file.display(), changes = changes.len(), "the set-up file was applied");
        Ok(())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Tells requests that wait for something that they should end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the server is told to stop.
    pub(crate) async fn stopping(&self) {
        // An error says that the app itself is gone.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// Makes the file and its directory, readable by this user alone: password hashes will be in it. (SQLite gives the files
/// beside it the same rights.)
fn make_file(file: &Path) -> Result<(), StartError> {
    if let Some(path) = file.parent().filter(|path| !path.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| StartError::Directory { path: path.to_owned(), error })?;
    }
    let made = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    made.map(drop).map_err(|error| StartError::File { path: file.to_owned(), error })
}

/// The key in the file beside the database. A new database gets a new one; one that is in use never does.
async fn key_beside(path: &Path, store: &Store) -> Result<MasterKey, StartError> {
    let problem = |problem: String| StartError::KeyFile { path: path.to_owned(), problem };
    if !path.exists() {
        if crate::keys::any(&mut store.read().await?).await? {
            return Err(StartError::NoMasterKey(path.to_owned()));
        }
        write_new_key(path, &MasterKey::generate()?).map_err(|error| problem(error.to_string()))?;
    }
    config::read_master_key(path).map_err(problem)
}

/// Whole or not at all, and never over a file that another server has just made.
fn write_new_key(path: &Path, key: &MasterKey) -> io::Result<()> {
    let unique = u64::from_ne_bytes(secret::random().map_err(io::Error::other)?);
    let draft = path.with_extension(format!("key.{unique:x}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{}", key.to_text().expose_secret()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    placed?;
    // The name is on disk when its directory is.
    fs::File::open(path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}
