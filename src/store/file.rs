//! The file of a SQLite database: the lock of the server that uses it, whether it is still the file that was opened, and
//! whether the write-ahead log (WAL) beside it belongs to it.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::OFlags;

use super::StoreError;

const PID: &str = ".pid";
const WAL: &str = "-wal";
const SHM: &str = "-shm";

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

/// Why a SQLite file must not be opened with the write-ahead log beside it.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The log belongs to another file, which a server opened at this path.
    #[error(
        "the file {0} was deleted or replaced while a grantd server ({process}) used it, and {0}-wal contains changes of the \
         previous file and would corrupt this one. Stop that server if it still runs. Then delete {0}-wal and {0}-shm, and put \
         the right database file in place; or, to undo the change, move the previous file back and leave these as they are",
        .database.display(), process = process_text(*.process)
    )]
    Foreign {
        /// The database file.
        database: PathBuf,
        /// The process id of the server, where it could be read.
        process: Option<u32>,
    },
    /// The database file is missing or empty.
    #[error(
        "the file {0} is missing or empty, but {0}-wal contains changes of a database, which would be lost. Move the database file \
         back beside it; or, for a new database or one from a backup, stop the server if it still runs, and delete {0}-wal \
         and {0}-shm",
        .database.display()
    )]
    Orphaned {
        /// The database file.
        database: PathBuf,
    },
}

fn process_text(id: Option<u32>) -> String {
    id.map_or_else(|| "process unknown".to_owned(), |id| format!("process {id}"))
}

/// The exclusive right to serve a SQLite file, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct ServerLock {
    /// Holds the lock.
    file: File,
    database: PathBuf,
}

impl ServerLock {
    /// Locks the file `NAME.pid` beside the database, which need not exist yet, and writes the process id into it. The
    /// database's directory must exist.
    ///
    /// The lock is not on the database itself: SQLite's own locks would be lost when a second descriptor of that file is
    /// closed. The file stays when the lock is released: if it were deleted, two servers could lock two files of one name.
    pub fn acquire(database: &Path) -> Result<Self, LockError> {
        let database = resolve(database).map_err(|error| LockError::File { path: database.to_owned(), error })?;
        let path = beside(&database, PID);
        let failed = |error| LockError::File { path: path.clone(), error };
        let mut options = File::options();
        // Not truncated: until the lock is held, the contents are those of another server.
        // No symbolic link: in a shared directory it could lead to a file of somebody else's choice.
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let mut file = options.open(&path).map_err(failed)?;
        let locked = file.try_lock();
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let before = LockFile::parse(&String::from_utf8_lossy(&text));
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::InUse { database, process: before.process }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // What the last server noted stays until this one has opened the database: if the start fails before, the next one
        // must still see that a log belongs to another file.
        before.write(&mut file).map_err(failed)?;
        Ok(Self { file, database })
    }

    /// Notes in the lock file which files the server has open, for `check_wal`. The database was opened just now.
    pub fn note_files(&mut self) -> Result<(), LockError> {
        let found = LockFile::of(&self.database);
        found.write(&mut self.file).map_err(|error| LockError::File { path: beside(&self.database, PID), error })
    }
}

impl Drop for ServerLock {
    fn drop(&mut self) {
        // A clean end leaves no log. Without this, a later log could have the inode number of the deleted one, and be taken
        // for that of a replaced file.
        if !beside(&self.database, WAL).exists() {
            let _ = self.file.set_len(0);
        }
    }
}

/// The contents of a lock file: the process that holds or held the lock, and then which files a server has open.
#[derive(Default)]
struct LockFile {
    process: Option<u32>,
    database: String,
    /// The log and its index in shared memory. Both are of use only with the database that was opened with them.
    wal: String,
    shm: String,
    /// The server that opened them. A later start that failed held the lock too.
    opened_by: Option<u32>,
}

impl LockFile {
    /// Returns the contents for the files that are there now.
    fn of(database: &Path) -> Self {
        let identity = |path: &Path| identity_text(path).unwrap_or_default();
        let [wal, shm] = [WAL, SHM].map(|ending| identity(&beside(database, ending)));
        Self { process: None, database: identity(database), wal, shm, opened_by: Some(std::process::id()) }
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let process = lines.next().and_then(|line| line.parse().ok());
        let [database, wal, shm] = [(); 3].map(|()| lines.next().unwrap_or_default().to_owned());
        let opened_by = lines.next().and_then(|line| line.parse().ok());
        Self { process, database, wal, shm, opened_by }
    }

    /// Replaces the contents, with the id of this process.
    fn write(&self, file: &mut File) -> io::Result<()> {
        let Self { database, wal, shm, opened_by, .. } = self;
        let opened_by = opened_by.map(|id| id.to_string()).unwrap_or_default();
        let text = format!("{}\n{database}\n{wal}\n{shm}\n{opened_by}\n", std::process::id());
        // Not emptied first: a command may read it at any time.
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }
}

/// Checks that the write-ahead log beside a SQLite file belongs to it. Called before the file is opened: SQLite writes any
/// log that it finds into the database, which corrupts one that was put in the place of another.
pub(crate) fn check_wal(database: &Path) -> Result<(), WalError> {
    // A directory that does not exist has no log.
    let Ok(database) = resolve(database) else { return Ok(()) };
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let wal = beside(&database, WAL);
    // SQLite would delete the log. It writes the first page of a database before it creates one, so no start that was
    // interrupted leaves this.
    if size(&database) == 0 && size(&wal) > 0 {
        return Err(WalError::Orphaned { database });
    }
    let opened = LockFile::parse(&fs::read_to_string(beside(&database, PID)).unwrap_or_default());
    let found = LockFile::of(&database);
    // With a log of another identity too, the whole directory was copied, or its device has another number since a reboot:
    // that log belongs to the database.
    let is_left = |opened: &str, found: &str| !opened.is_empty() && opened == found;
    let wal_is_left = is_left(&opened.wal, &found.wal) || is_left(&opened.shm, &found.shm);
    if wal_is_left && opened.database != found.database {
        return Err(WalError::Foreign { database, process: opened.opened_by });
    }
    Ok(())
}

/// Returns whether a write-ahead log is beside a SQLite file.
pub(super) fn has_wal(database: &Path) -> bool {
    beside(database, WAL).exists()
}

/// Returns the path of a file beside the database, such as `grantd.db-wal`.
fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    path.into()
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

/// The identity of a file as text. `None`: it cannot be read, or does not exist.
fn identity_text(path: &Path) -> Option<String> {
    let (device, inode) = identity(&fs::metadata(path).ok()?);
    Some(format!("{device}:{inode}"))
}
