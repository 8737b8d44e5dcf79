//! Import of users from the export files of other systems.
//!
//! A file is read as a stream, on a thread of its own ([`Source`], `stream.rs`). A function of its format turns each entry
//! into a `Record`, `check.rs` turns a record into a row, and `run.rs` inserts the rows in batches. Memory is constant,
//! whatever the size of the file.

mod auth0;
mod check;
mod csv;
mod django;
mod fields;
mod firebase;
mod jsonl;
mod keycloak;
mod kratos;
mod read;
mod run;
mod source;
mod sql;
mod stream;
mod supabase;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::{
    check::Roles,
    firebase::FirebaseParameters,
    read::{Item, read},
    run::{ImportError, Outcome, Told, run},
    source::Source,
    stream::FileError,
};
use crate::validation::named_enum;

named_enum! {
    /// The system that a file comes from.
    Format in "from" {
        /// User records, one a line, as `grantd user export` writes them.
        Jsonl = "jsonl",
        /// User records with their names in the first line.
        Csv = "csv",
        /// A realm export of Keycloak.
        Keycloak = "keycloak",
        /// `dumpdata` of Django.
        Django = "django",
        /// A bulk export of Auth0, or a file for its bulk import.
        Auth0 = "auth0",
        /// `auth:export` of Firebase, as JSON or CSV.
        Firebase = "firebase",
        /// The table `auth.users` of Supabase, as CSV or as a `COPY` block.
        Supabase = "supabase",
        /// Identities of Ory Kratos.
        Kratos = "kratos",
    }
}

impl Format {
    /// Returns whether a role that does not exist is an error. The roles of other systems are theirs: those that do not
    /// exist here are dropped.
    fn is_own(self) -> bool {
        matches!(self, Self::Jsonl | Self::Csv)
    }
}

/// How to read a file.
#[derive(Debug, Default)]
pub struct Options {
    /// Names of roles in the file, with the roles that their users get.
    pub role_map: HashMap<String, String>,
    /// The parameters of the project's scrypt hashes.
    pub firebase: Option<FirebaseParameters>,
    /// Checks everything and writes nothing.
    pub dry_run: bool,
    /// Leaves the writer to others for a part of the time. SQLite has one, and does not queue processes fairly.
    pub pause: bool,
}

/// A user as the file describes it. It has a password hash, and so no `Debug`.
#[derive(Default)]
struct Record {
    /// The source's id of the user. It becomes the username if nothing else fits.
    id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    display_name: Option<String>,
    roles: Vec<String>,
    disabled: bool,
    created_at: Option<DateTime<Utc>>,
    last_login_at: Option<DateTime<Utc>>,
    /// In a form that `passwords::check_imported` takes. `None`: the user has no password.
    password_hash: Option<String>,
}

/// What a format makes of an entry of its file.
enum Found {
    User(Record),
    /// Not an account of a person, or a deleted one.
    Skipped,
    /// Not an account.
    Other,
}

/// An error in one entry of a file. It repeats no value: the wrong one may be a password hash.
#[derive(Debug)]
pub struct Wrong {
    field: String,
    reason: String,
}

impl Wrong {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// A record that was not imported.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// The number of the record, counted from 1; in files of lines, the number of the line.
    pub record: u64,
    /// The user's name in the file, if it has one.
    pub user: Option<String>,
    /// The field that is wrong.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// The maximum number of names of dropped roles that are counted apart, and of those of one user that are counted.
const MOST_DROPPED: usize = 100;
/// The number of characters of the source's names that are shown.
const LONGEST_NAME: usize = 100;

/// The result of an import.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Users that were created or, in a dry run, would be.
    pub imported: u64,
    /// Records of users that existed before, and those that are no accounts of people.
    pub skipped: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Of the imported users, those without a password.
    pub without_password: u64,
    /// Roles of imported users that do not exist here, with the number of users.
    pub dropped_roles: BTreeMap<String, u64>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

impl Summary {
    fn note_dropped(&mut self, roles: &[String]) {
        for role in roles {
            // A hostile file could have a new name in each record.
            let is_listed = self.dropped_roles.len() < MOST_DROPPED || self.dropped_roles.contains_key(role);
            let name = if is_listed { role.as_str() } else { "(others)" };
            *self.dropped_roles.entry(name.to_owned()).or_default() += 1;
        }
    }
}
