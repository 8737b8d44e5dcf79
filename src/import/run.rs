//! Inserts the records of a file, a transaction for each batch.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    io, thread,
    time::Instant,
};

use chrono::TimeDelta;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;

use super::{
    FileError, Format, Item, Options, Refusal, Roles, Source, Summary, Wrong,
    check::Row,
    read::{self, Checked},
    sql::{self, TakenRow},
};
use crate::{
    audit::{self, Event, Kind, Origin},
    clock::Clock,
    error::Error,
    ids::UserId,
    names::{DisplayName, Email},
    passwords::{FirebaseKey, NO_PASSWORD, Passwords},
    roles,
    store::{Store, StoreError, Transaction, conn},
};

/// The number of records of a batch. Its transaction is short: SQLite has one writer, and logins wait for it.
const BATCH: usize = 500;
/// The number of roles that a statement inserts.
const ROLES: usize = 1000;

/// Why an import ended before the end of its file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read further.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed, or a role does not exist.
    #[error(transparent)]
    Database(#[from] Error),
    /// The report cannot be written.
    #[error("the report cannot be written: {0}")]
    Report(io::Error),
    /// The operating system starts no thread.
    #[error("the file cannot be read: {0}")]
    Thread(io::Error),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Database(error.into())
    }
}

/// What an import did, whether it reached the end of the file or not.
#[derive(Debug)]
pub struct Outcome {
    /// The counts.
    pub summary: Summary,
    /// Why it ended before the end of the file.
    pub error: Option<ImportError>,
}

/// What an import reports on its way.
pub enum Told<'a> {
    /// A record was refused.
    Refused(&'a Refusal),
    /// The counts after a batch, and the number of bytes that were read.
    Progress(&'a Summary, u64),
}

/// Imports a file, and records one event with the counts. Records of users that exist are skipped, so that a second run
/// imports what is missing.
pub async fn run(
    store: &Store,
    passwords: &Passwords,
    clock: &Clock,
    (source, format, options): (Source, Format, Options),
    mut told: impl FnMut(Told<'_>) -> io::Result<()>,
) -> Outcome {
    let mut import = Import {
        store,
        passwords,
        clock,
        first: UserId::first_of(clock.now()),
        names: Names::default(),
        summary: Summary { dry_run: options.dry_run, ..Summary::default() },
    };
    let mut error = import.records(source, format, options, &mut told).await.err();
    if !import.summary.dry_run
        && let Err(unrecorded) = import.record_event(format, error.is_none()).await
    {
        error = error.or(Some(unrecorded.into()));
    }
    Outcome { summary: import.summary, error }
}

struct Import<'a> {
    store: &'a Store,
    passwords: &'a Passwords,
    clock: &'a Clock,
    /// Users with this id or a later one were created by this import.
    first: UserId,
    /// In a dry run, the names that would be taken.
    names: Names,
    summary: Summary,
}

impl Import<'_> {
    async fn records(
        &mut self,
        source: Source,
        format: Format,
        options: Options,
        told: &mut impl FnMut(Told<'_>) -> io::Result<()>,
    ) -> Result<(), ImportError> {
        let existing = roles::all_roles(&mut self.store.read().await?).await?;
        let roles = Roles::new(existing, format, &options)?;
        let (gauge, pause, now) = (source.gauge(), options.pause, self.clock.now());
        // Bounded: the thread waits for the database, and does not fill the memory.
        let (sender, mut items) = mpsc::channel(BATCH);
        let read = move || {
            let mut take = |item: Item| sender.blocking_send(item).is_ok();
            read::read(source, format, &options, &roles, now, &mut take)
        };
        let reader = thread::Builder::new().name("import".to_owned()).spawn(read).map_err(ImportError::Thread)?;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(item) = items.recv().await
            {
                batch.push(item);
            }
            let is_last = batch.len() < BATCH;
            let started = Instant::now();
            for refusal in self.batch(batch).await? {
                told(Told::Refused(&refusal)).map_err(ImportError::Report)?;
            }
            told(Told::Progress(&self.summary, gauge.bytes_read())).map_err(ImportError::Report)?;
            if is_last {
                break;
            }
            if pause {
                tokio::time::sleep(started.elapsed() / 4).await;
            }
        }
        // The channel is closed, so the thread has ended.
        let done = reader.join().map_err(|_| Error::Internal("the reader of the file panicked".to_owned()))?;
        Ok(done?)
    }

    /// Imports a batch, counts its records, and returns those that were refused, in the order of the file.
    async fn batch(&mut self, items: Vec<Item>) -> Result<Vec<Refusal>, ImportError> {
        let (mut refused, mut rows) = (Vec::new(), Vec::new());
        for Item { record, checked } in items {
            match checked {
                Checked::Refused(refusal) => refused.push(refusal),
                Checked::Skipped => self.summary.skipped += 1,
                Checked::Row(row) => rows.push((record, row)),
            }
        }
        let mut inserted = HashSet::new();
        if !self.summary.dry_run && !rows.is_empty() {
            inserted = self.insert(&rows).await?;
        }
        let left: Vec<_> = rows.iter().filter(|(record, _)| !inserted.contains(record)).collect();
        let taken = self.taken(&left).await?;
        for (record, row) in &rows {
            let standing = if inserted.contains(record) { Standing::New } else { self.standing(row, &taken) };
            match standing {
                Standing::New => self.note_imported(row),
                Standing::Existed => self.summary.skipped += 1,
                Standing::Repeated(field) => {
                    let Wrong { field, reason } =
                        Wrong::new(field, "is already taken by an earlier record of the file");
                    refused.push(Refusal { record: *record, user: Some(row.username.to_string()), field, reason });
                }
            }
        }
        refused.sort_by_key(|refusal| refusal.record);
        self.summary.refused += refused.len() as u64;
        Ok(refused)
    }

    fn note_imported(&mut self, row: &Row) {
        self.summary.imported += 1;
        self.summary.without_password += u64::from(row.password_hash == NO_PASSWORD);
        self.summary.note_dropped(&row.dropped);
    }

    /// Inserts rows and their roles, and returns the records of those whose name and email were free.
    async fn insert(&self, rows: &[(u64, Box<Row>)]) -> Result<HashSet<u64>, ImportError> {
        let now = self.clock.now();
        // In the order of the file, which is also best for the index.
        let id = |at: usize| UserId::new(now + TimeDelta::microseconds(i64::try_from(at).unwrap_or(0)));
        let numbered: Vec<_> = rows.iter().enumerate().map(|(at, (record, row))| (id(at), *record, &**row)).collect();
        let keys: HashMap<String, &FirebaseKey> =
            rows.iter().filter_map(|(_, row)| row.firebase_key.as_ref()).map(|key| (key.id(), key)).collect();
        let work = async |tx: &mut Transaction| -> Result<HashSet<UserId>, Error> {
            for key in keys.values() {
                self.passwords.add_firebase_key(tx, key).await?;
            }
            let insert = AssertSqlSafe(sql::insert_users(numbered.len()));
            let inserted = conn::all_of!(tx, (UserId,), insert, &numbered, |one| [
                one.0,
                one.2.username.as_str(),
                one.2.email.as_ref().map(Email::as_str),
                one.2.display_name.as_ref().map(DisplayName::as_str),
                one.2.password_hash.as_str(),
                one.2.disabled,
                one.2.created_at.unwrap_or(now),
                now,
                one.2.last_login_at,
            ])?;
            let inserted: HashSet<_> = inserted.into_iter().map(|(id,)| id).collect();
            let new = numbered.iter().filter(|(id, ..)| inserted.contains(id));
            let roles: Vec<_> =
                new.flat_map(|(id, _, row)| row.roles.iter().map(|role| (*id, role.as_str()))).collect();
            for roles in roles.chunks(ROLES) {
                let insert = AssertSqlSafe(sql::insert_roles(roles.len()));
                conn::all_of!(tx, (UserId,), insert, roles, |one| [one.0, one.1]).map_err(role_deleted)?;
            }
            Ok(inserted)
        };
        let inserted = self.store.transact(work).await?;
        Ok(numbered.iter().filter(|(id, ..)| inserted.contains(id)).map(|(_, record, _)| *record).collect())
    }

    /// Returns the users that have the names and emails of these rows.
    async fn taken(&self, rows: &[&(u64, Box<Row>)]) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        if rows.is_empty() {
            return Ok(taken);
        }
        let names = rows.iter().map(|(_, row)| lower(row.username.as_str()));
        // No user has an empty email.
        let emails =
            rows.iter().map(|(_, row)| row.email.as_ref().map(|email| lower(email.as_str())).unwrap_or_default());
        let texts: Vec<String> = names.chain(emails).collect();
        let read = AssertSqlSafe(sql::taken(rows.len()));
        let mut conn = self.store.read().await?;
        for row in conn::all_of!(conn, TakenRow, read, &texts, |text| [text.as_str()])? {
            taken.usernames.insert(row.username, row.id);
            taken.emails.extend(row.email.map(|email| (email, row.id)));
        }
        Ok(taken)
    }

    /// Returns what becomes of a row that was not inserted.
    fn standing(&mut self, row: &Row, taken: &Taken) -> Standing {
        let username = lower(row.username.as_str());
        let email = row.email.as_ref().map(|email| lower(email.as_str()));
        let by = [
            ("username", taken.usernames.get(&username)),
            ("email", email.as_ref().and_then(|email| taken.emails.get(email))),
        ];
        if by.iter().any(|(_, holder)| holder.is_some_and(|id| *id < self.first)) {
            return Standing::Existed;
        }
        if let Some((field, _)) = by.iter().find(|(_, holder)| holder.is_some()) {
            return Standing::Repeated(field);
        }
        if !self.summary.dry_run {
            // The user that had the name was deleted a moment ago.
            return Standing::Existed;
        }
        self.names.take(&username, email.as_deref()).map_or(Standing::New, Standing::Repeated)
    }

    async fn record_event(&self, format: Format, is_complete: bool) -> Result<(), StoreError> {
        let Summary { imported, skipped, refused, without_password, .. } = self.summary;
        let event = if is_complete { Event::success(Kind::UserImported) } else { Event::failure(Kind::UserImported) };
        let event = event.details(json!({
            "from": format.as_str(), "imported": imported, "skipped": skipped, "refused": refused,
            "without_password": without_password,
        }));
        audit::record(&mut self.store.write().await?, event, &Origin::system(), self.clock.now()).await
    }
}

fn role_deleted(error: StoreError) -> Error {
    match error {
        StoreError::Constraint("user_roles_role_fkey") => {
            Error::RuleViolation("a role was deleted during the import; run it again")
        }
        other => Error::Store(other),
    }
}

enum Standing {
    New,
    Existed,
    /// An earlier record has the value of this field.
    Repeated(&'static str),
}

/// Users by name and by email, in lower case.
#[derive(Default)]
struct Taken {
    usernames: HashMap<String, UserId>,
    emails: HashMap<String, UserId>,
}

/// Names and emails of a dry run, which the database does not have. Only their hashes, to save memory: two of a million
/// names are the same with a probability of 10⁻⁷.
#[derive(Default)]
struct Names {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Names {
    /// Takes a name and an email, or returns the field whose value is taken already.
    fn take(&mut self, username: &str, email: Option<&str>) -> Option<&'static str> {
        let username = self.hasher.hash_one(("username", username));
        let email = email.map(|email| self.hasher.hash_one(("email", email)));
        if self.hashes.contains(&username) {
            return Some("username");
        }
        if email.is_some_and(|email| self.hashes.contains(&email)) {
            return Some("email");
        }
        self.hashes.insert(username);
        self.hashes.extend(email);
        None
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}
