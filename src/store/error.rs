//! Database errors, by what the caller can do about them.

use std::{io, path::PathBuf};

use sqlx::{error::DatabaseError, migrate::MigrateError};

use crate::{config::DatabaseUrl, error::without_os_codes};

/// The error of a statement, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A constraint of this name was violated; the change did not happen.
    #[error("constraint {0} violated")]
    Constraint(&'static str),
    /// The database is unreachable, overloaded or read-only: a retry may succeed later.
    #[error("the database is not available: {}", reason(.0))]
    Unavailable(#[source] sqlx::Error),
    /// The engine rolled back the transaction and asks for a retry: a serialization failure or a deadlock.
    #[error("the database asks to repeat the transaction: {}", reason(.0))]
    Repeat(#[source] sqlx::Error),
    /// A row that the server cannot have written.
    #[error("impossible row in table {table}, id {id}: {problem}")]
    ImpossibleRow {
        /// The table.
        table: &'static str,
        /// The row's primary key.
        id: String,
        /// The problem.
        problem: String,
    },
    /// The database could not be opened at the start.
    #[error("cannot open {database}: {error}")]
    Open {
        /// Its file or host, without the password.
        database: String,
        /// Why.
        error: Box<StoreError>,
    },
    /// A migration failed.
    #[error("the schema could not be brought up to date: {0}")]
    Migration(#[source] MigrateError),
    /// The SQLite file at this path is not the one that was opened.
    #[error(
        "the database file {} was deleted or replaced while the server was running, and changes go to the old file until \
         the server stops. Stop the server, delete the files with the endings -wal and -shm, put the right file in place \
         and start the server",
        .0.display()
    )]
    FileReplaced(PathBuf),
    /// Anything else: a bug.
    #[error("the database refused a statement: {}", reason(.0))]
    Other(#[source] sqlx::Error),
}

impl StoreError {
    /// Adds which database could not be opened.
    pub(super) fn at_open(self, url: &DatabaseUrl) -> Self {
        Self::Open { database: url.to_string(), error: Box::new(self) }
    }

    /// Returns the error for a row whose columns contradict each other or the code.
    pub fn impossible(table: &'static str, id: &(impl ToString + ?Sized), problem: &(impl ToString + ?Sized)) -> Self {
        Self::ImpossibleRow { table, id: id.to_string(), problem: problem.to_string() }
    }

    /// Returns the same error for another request of the same batch. `Repeat` becomes `Unavailable`: a
    /// request cannot repeat the batch.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Constraint(name) => Self::Constraint(name),
            Self::Unavailable(_) | Self::Repeat(_) => Self::Unavailable(sqlx::Error::PoolTimedOut),
            Self::ImpossibleRow { table, id, problem } => Self::impossible(table, id, problem),
            Self::Open { database, error } => Self::Open { database: database.clone(), error: Box::new(error.again()) },
            Self::Migration(error) => Self::Other(sqlx::Error::Protocol(error.to_string())),
            Self::FileReplaced(path) => Self::FileReplaced(path.clone()),
            Self::Other(error) => Self::Other(sqlx::Error::Protocol(error.to_string())),
        }
    }

    /// Returns whether a foreign key was violated: the referenced row does not exist, or was deleted meanwhile.
    pub(crate) fn is_orphan(&self) -> bool {
        matches!(self, Self::Constraint(name) if name.ends_with("_fkey"))
    }

    /// Returns whether a column has a value of another type or format than the server writes.
    pub(crate) fn is_undecodable(&self) -> bool {
        matches!(self, Self::Other(sqlx::Error::ColumnDecode { .. }))
    }

    /// Returns whether the connection is useless, and so are probably all others to the same server: it has stopped, is a
    /// standby now, or is out of reach.
    pub(super) fn lost_server(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => error.code().is_some_and(|code| is_lost(&code)),
            Self::Unavailable(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
            _ => false,
        }
    }

    /// Returns whether a connection, a lock or a result did not come in time.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::PoolTimedOut) => true,
            // Statement timeout; lock not available; SQLite's BUSY.
            Self::Unavailable(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| matches!(&*code, "57014" | "55P03" | "5"))
            }
            _ => false,
        }
    }

    /// Returns whether the engine asks for a retry of the transaction.
    pub(crate) fn asks_for_retry(&self) -> bool {
        matches!(self, Self::Repeat(_))
    }
}

/// Returns what failed in words, without the engine's error codes.
fn reason(error: &sqlx::Error) -> String {
    match error {
        // SQLITE_NOTADB.
        sqlx::Error::Database(error) if error.code().as_deref() == Some("26") => {
            "the file is not a SQLite database; name another file".to_owned()
        }
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => without_os_codes(&error.to_string()),
        sqlx::Error::PoolTimedOut => "no connection within GRANTD_DATABASE_TIMEOUT".to_owned(),
        error => error.to_string(),
    }
}

/// The constraints by name (Postgres), and by the text of SQLite's message: columns or the name of the index, and nothing
/// for foreign keys.
const CONSTRAINTS: [(&str, &str); 25] = [
    ("api_keys_hash_key", "api_keys.hash"),
    ("api_keys_pkey", "api_keys.id"),
    ("api_keys_user_id_fkey", ""),
    ("audit_events_pkey", "audit_events.id"),
    ("audit_seals_pkey", "audit_seals.number"),
    ("changes_pkey", "changes.id"),
    ("client_assertions_pkey", "client_assertions.client_id, client_assertions.jti_hash"),
    ("clients_pkey", "clients.client_id"),
    ("firebase_keys_pkey", "firebase_keys.id"),
    ("revocations_pkey", "revocations.number"),
    ("roles_pkey", "roles.name"),
    ("scopes_pkey", "scopes.name"),
    ("sessions_client_id_fkey", ""),
    ("sessions_pkey", "sessions.id"),
    ("sessions_user_id_fkey", ""),
    ("server_keys_pkey", "server_keys.name"),
    ("throttle_pkey", "throttle.budget"),
    ("signing_keys_active_key", "signing_keys.state"),
    ("signing_keys_next_key", "index 'signing_keys_next_key'"),
    ("signing_keys_pkey", "signing_keys.kid"),
    ("user_roles_pkey", "user_roles.user_id, user_roles.role"),
    ("user_roles_role_fkey", ""),
    ("users_email_key", "index 'users_email_key'"),
    ("users_pkey", "users.id"),
    ("users_username_key", "index 'users_username_key'"),
];
/// SQLite does not name the violated foreign key; every violation is mapped to this constraint.
const SQLITE_FOREIGN_KEY: &str = "user_roles_role_fkey";

fn constraint(error: &dyn DatabaseError) -> Option<&'static str> {
    if let Some(name) = error.constraint() {
        return CONSTRAINTS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known);
    }
    if error.is_foreign_key_violation() {
        return Some(SQLITE_FOREIGN_KEY);
    }
    let violated = error.message().strip_prefix("UNIQUE constraint failed: ")?;
    CONSTRAINTS.iter().find(|(_, sqlite)| *sqlite == violated).map(|(name, _)| *name)
}

/// The action for the code of a database error. Postgres: SQLSTATE, five characters. SQLite: a result code in decimal,
/// whose low byte is the primary code.
enum Advice {
    Repeat,
    Wait,
    Bug,
}

/// Shutting down or starting; read-only, as a standby is that was the primary a moment ago; connection failures.
fn is_lost(code: &str) -> bool {
    matches!(code, "57P01" | "57P02" | "57P03" | "25006") || (code.len() == 5 && code.starts_with("08"))
}

fn advice(code: &str) -> Advice {
    if code.len() == 5 {
        return match code {
            // Serialization failure, deadlock.
            "40001" | "40P01" => Advice::Repeat,
            // Too many connections; statement timeout; lock not available; ended while idle; login or database refused,
            // as during a failover; out of disk or memory.
            "53300" | "57014" | "55P03" | "25P03" | "28000" | "28P01" | "3D000" | "55000" | "57P05" | "53100"
            | "53200" => Advice::Wait,
            _ if is_lost(code) => Advice::Wait,
            _ => Advice::Bug,
        };
    }
    match code.parse::<u32>().map(|code| (code & 0xff, code >> 8)) {
        // SQLITE_BUSY_SNAPSHOT: a read transaction tried to write after another connection had written.
        Ok((5, 2)) => Advice::Repeat,
        // BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
        Ok((5 | 6 | 7 | 8 | 10 | 13 | 14, _)) => Advice::Wait,
        _ => Advice::Bug,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                if let Some(name) = constraint(database.as_ref()) {
                    return Self::Constraint(name);
                }
                match database.code().map_or(Advice::Bug, |code| advice(&code)) {
                    Advice::Repeat => Self::Repeat(error),
                    Advice::Wait => Self::Unavailable(error),
                    Advice::Bug => Self::Other(error),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // How sqlx reports a connection that ended in the middle of a message.
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            _ => Self::Other(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => Self::from(error),
            error => Self::Migration(error),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(sqlx::Error::Io(error))
    }
}
