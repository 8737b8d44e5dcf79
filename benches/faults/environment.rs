//! What all servers share: their directory, their settings, and the trouble of their database.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct-horse-battery";

pub(crate) struct Environment {
    directory: TempDir,
    /// Where the servers reach Postgres. `None`: they use SQLite.
    pub(crate) postgres: Option<SocketAddr>,
    trouble: Mutex<Trouble>,
}

/// Faults of the database.
#[derive(Default)]
struct Trouble {
    lasts: bool,
    /// The end of the last one.
    ended: Option<Instant>,
}

impl Environment {
    /// Creates the directory.
    pub(crate) fn create() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("grantd-faults-").tempdir()?;
        open_to_all(directory.path())?;
        Ok(Self { directory, postgres: None, trouble: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a command with the settings, and without the caller's environment, that writes to this log.
    pub(crate) fn command(&self, log: &Path) -> io::Result<Command> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        let binary = std::env::var_os("GRANTD").unwrap_or_else(|| env!("CARGO_BIN_EXE_grantd").into());
        let url = match self.postgres {
            Some(address) => format!("postgres://postgres@{address}/postgres?sslmode=disable"),
            None => format!("sqlite://{}", self.path().join("grantd.db").display()),
        };
        let mut command = Command::new(binary);
        command.env_clear().env("DATABASE_URL", url).envs(VARIABLES).current_dir(self.path());
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Notes that the database is in trouble until [`Environment::calm_down`].
    pub(crate) fn disturb(&self) {
        lock(&self.trouble).lasts = true;
    }

    pub(crate) fn calm_down(&self) {
        *lock(&self.trouble) = Trouble { lasts: false, ended: Some(Instant::now()) };
    }

    /// Returns whether the database had no trouble since then.
    pub(crate) fn is_calm_since(&self, time: Instant) -> bool {
        let trouble = lock(&self.trouble);
        !trouble.lasts && trouble.ended.is_none_or(|ended| ended < time)
    }
}

/// Cheap hashes, and no limits of failed logins and requests, which would refuse what the model expects.
const VARIABLES: [(&str, &str); 13] = [
    // 32 bytes in base64url, for databases that are deleted at the end.
    ("GRANTD_MASTER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"),
    // Not the address, so that both servers issue tokens for each other.
    ("GRANTD_ISSUER", "http://grantd.test"),
    ("GRANTD_ADMIN_PASSWORD", PASSWORD),
    ("GRANTD_HASH_MEMORY", "8KiB"),
    ("GRANTD_HASH_ITERATIONS", "1"),
    ("GRANTD_HASH_THREADS", "1"),
    ("GRANTD_LOGIN_FAILURES", "off"),
    ("GRANTD_NETWORK_FAILURES", "off"),
    ("GRANTD_RATE_LIMIT", "off"),
    ("GRANTD_ACCESS_TOKEN_TTL", "1h"),
    // A retry after a lost answer is never reuse.
    ("GRANTD_REFRESH_LEEWAY", "1h"),
    ("GRANTD_PASSWORD_MIN_STRENGTH", "0"),
    ("GRANTD_LOG", "warn"),
];

/// Lets Postgres, which runs as another user, pass through the directory.
fn open_to_all(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// Returns the last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
