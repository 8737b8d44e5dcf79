//! The file of a SQLite database: the lock of the server that uses it, and whether it is still the file that was opened.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::OFlags;

use super::StoreError;

/// Why a server may not use a SQLite file.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server uses the file.
    #[error(
        "another grantd server ({}) uses this database: {}; stop it, or use Postgres for several servers",
        process_text(*.process),
        .database.display()
    )]
    InUse {
        /// The database file.
        database: PathBuf,
        /// The process id of the other server, where it could be read.
        process: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("the lock file {} cannot be used: {error}", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

fn process_text(id: Option<u32>) -> String {
    id.map_or_else(|| "process unknown".to_owned(), |id| format!("process {id}"))
}

/// The exclusive right to serve a SQLite file, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct ServerLock {
    /// Open for the lock alone.
    _file: File,
}

impl ServerLock {
    /// Locks the file `NAME.pid` beside the database, which need not exist yet, and writes the process id into it. The
    /// database's directory must exist.
    ///
    /// The lock is not on the database itself: SQLite's own locks would be lost when a second descriptor of that file is
    /// closed. The file stays when the lock is released: if it were deleted, two servers could lock two files of one name.
    pub fn acquire(database: &Path) -> Result<Self, LockError> {
        let database = resolve(database).map_err(|error| LockError::File { path: database.to_owned(), error })?;
        let mut path = database.as_os_str().to_owned();
        path.push(".pid");
        let path = PathBuf::from(path);
        let failed = |error| LockError::File { path: path.clone(), error };
        let mut options = File::options();
        // Not truncated: until the lock is held, the contents are those of another server.
        // No symbolic link: in a shared directory it could lead to a file of somebody else's choice.
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse { database, process });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Returns the absolute path without symbolic links, also of a file that does not exist yet: all ways to name a database
/// must lead to the same lock.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if let Ok(target) = fs::read_link(path) {
                return resolve(&directory.join(target));
            }
            let name = path.file_name().ok_or(error)?;
            Ok(fs::canonicalize(directory)?.join(name))
        }
        resolved => resolved,
    }
}

/// The database file that the connections have open.
///
/// SQLite does not notice when the file is deleted or replaced: it goes on with the old one, which is gone when it is closed.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Absolute, with symbolic links, which may be changed to lead to another file.
    path: PathBuf,
    identity: (u64, u64),
    is_replaced: AtomicBool,
}

impl OpenFile {
    pub(super) async fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = identity(&tokio::fs::metadata(&path).await?);
        Ok(Self { path, identity, is_replaced: AtomicBool::new(false) })
    }

    /// Checks that the path still leads to the open file. A change is logged once.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let is_replaced = match tokio::fs::metadata(&self.path).await {
            Ok(found) => identity(&found) != self.identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error.into()),
        };
        let was_replaced = self.is_replaced.swap(is_replaced, Ordering::Relaxed);
        if !is_replaced {
            return Ok(());
        }
        let error = StoreError::FileReplaced(self.path.clone());
        if !was_replaced {
            tracing::error!("{error}");
        }
        Err(error)
    }
}

/// Device and inode. Migrations and `VACUUM` keep them.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
