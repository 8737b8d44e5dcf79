//! The cache of `grantd token get`: one file per session, with mode 0600, in a directory with mode 0700.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::secret;

/// The tokens of a session.
#[derive(Deserialize, Serialize)]
pub(super) struct CachedSession {
    pub(super) username: String,
    pub(super) access_token: String,
    pub(super) expires_at: DateTime<Utc>,
    /// `None`: the client may not use the grant `refresh_token`.
    pub(super) refresh_token: Option<String>,
}

/// A cache entry, locked against other processes until this is dropped.
pub(super) struct CacheEntry {
    path: PathBuf,
    _lock: File,
}

impl CacheEntry {
    /// Locks the entry of this key. Waits while another process has the lock.
    ///
    /// The lock is held from reading a refresh token to writing the next one. Two processes that sent the same refresh token
    /// would look like a thief to the server, which then ends the session.
    pub(super) fn lock(key: &[&str]) -> Result<Self, Box<dyn Error>> {
        let directory = directory()?;
        let failed = |error: io::Error| format!("cannot use the cache {}: {error}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).map_err(failed)?;
        let mut name = String::new();
        for byte in secret::fingerprint(&key.join("\n")) {
            write!(name, "{byte:02x}")?;
        }
        let path = directory.join(name).with_extension("json");
        // A file of its own, never removed: the entry is replaced by renaming, and a lock belongs to the replaced file.
        let lock = private().create(true).truncate(false).open(path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns the session. A file that cannot be read counts as none: logging in replaces it.
    pub(super) fn read(&self) -> Option<CachedSession> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// Replaces the session as a whole, so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, session: &CachedSession) -> Result<(), Box<dyn Error>> {
        let draft = self.path.with_extension("new");
        let text = serde_json::to_vec(session)?;
        replace(&draft, &self.path, &text)
            .map_err(|error| format!("cannot write the cache {}: {error}", self.path.display()).into())
    }

    /// Removes the session.
    pub(super) fn remove(&self) -> Result<(), Box<dyn Error>> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", self.path.display()).into())
            }
            _ => Ok(()),
        }
    }
}

/// Requires the lock: no other process uses this draft, and an existing one was left by a crash.
fn replace(draft: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(draft, path)
}

/// Options for a file that only this user may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// As the XDG Base Directory Specification has it: a relative `XDG_CACHE_HOME` is ignored.
fn directory() -> Result<PathBuf, &'static str> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("grantd")).ok_or("there is no directory for the cache: set HOME or XDG_CACHE_HOME")
}
