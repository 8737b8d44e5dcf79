//! Errors that prevent the start.

use std::{io, net::SocketAddr, path::PathBuf};

use grantd_guard::BuildError;

use crate::{
    apply::ApplyError,
    config::MasterKeySource,
    error::{Error, without_os_codes},
    keys::KeysError,
    passwords::PasswordsError,
    secret::NoRandomness,
    store::{LockError, StoreError, WalError},
};

/// An error that prevents the start. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("DATABASE_URL: {0}")]
    Store(#[from] StoreError),
    /// The database does not exist or was never set up, and may not be created here.
    #[error("DATABASE_URL: there is no grantd database")]
    NoDatabase,
    /// Another server uses the SQLite file, or that cannot be found out.
    #[error("DATABASE_URL: {0}")]
    Lock(#[from] LockError),
    /// The write-ahead log beside the SQLite file does not belong to it.
    #[error("DATABASE_URL: {0}")]
    Wal(#[from] WalError),
    /// The directory of the SQLite file cannot be made.
    #[error("DATABASE_URL: cannot create the directory {}: {error}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The SQLite file cannot be written.
    #[error("DATABASE_URL: the file {} cannot be written: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The database has secrets, and the key file that they are sealed under is missing.
    #[error(
        "GRANTD_MASTER_KEY: the database has signing keys, and {} is missing. Put the file back from your backup, or set \
         GRANTD_MASTER_KEY: a database cannot be opened without its master key",
        .0.display()
    )]
    NoMasterKey(PathBuf),
    /// The key file cannot be used.
    #[error("GRANTD_MASTER_KEY: the key file {}: {problem}", path.display())]
    KeyFile {
        /// The path.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The signing keys cannot be decrypted.
    #[error(
        "GRANTD_MASTER_KEY: the key from {source_of_key} is not the master key of the database: the signing key {kid} was \
         sealed under another one. Use the key of the last `grantd keys rewrap`, or the one that it was created with"
    )]
    WrongMasterKey {
        /// The setting or the file.
        source_of_key: String,
        /// The id of the signing key.
        kid: String,
    },
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Passwords cannot be hashed, or the blocklist cannot be used.
    #[error(transparent)]
    Passwords(#[from] PasswordsError),
    /// The exporter of traces cannot be built.
    #[error("GRANTD_OTLP_ENDPOINT: traces cannot be exported: {0}")]
    Traces(String),
    /// The operating system provides no random numbers.
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
    /// The issuer or the keys are not usable for verification.
    #[error("GRANTD_ISSUER: {0}")]
    Guard(#[from] BuildError),
    /// The server cannot listen on an address.
    #[error("GRANTD_LISTEN: {}", listen_problem(*address, error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        error: io::Error,
    },
    /// The server cannot listen on the address for metrics.
    #[error(
        "GRANTD_METRICS_ADDRESS: cannot listen on {address}: {}. Choose another address",
        without_os_codes(&error.to_string())
    )]
    ListenForMetrics {
        /// The address.
        address: SocketAddr,
        /// The reason.
        error: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("GRANTD_TLS_CERT, GRANTD_TLS_KEY: {0}")]
    Tls(String),
}

impl StartError {
    pub(super) fn of_keys(error: KeysError, source: &MasterKeySource) -> Self {
        match error {
            KeysError::WrongMasterKey { kid } => Self::WrongMasterKey { source_of_key: source.to_string(), kid },
            other => Self::Keys(other),
        }
    }
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
