//! From a record to a row: names within their rules, roles that exist, a hash that can be verified.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::{Format, LONGEST_NAME, MOST_DROPPED, Options, Record, Wrong};
use crate::{
    error::{Code, Error, FieldError},
    names::{DisplayName, Email, RoleName, Username},
    passwords::{self, FirebaseKey, NO_PASSWORD, RefusedHash},
    users,
};

/// A user to insert. It has a password hash, and so no `Debug`.
pub(super) struct Row {
    pub(super) username: Username,
    pub(super) email: Option<Email>,
    pub(super) display_name: Option<DisplayName>,
    /// Sorted, each once, with `member`.
    pub(super) roles: Vec<RoleName>,
    /// Roles of the source that do not exist here.
    pub(super) dropped: Vec<String>,
    pub(super) disabled: bool,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) last_login_at: Option<DateTime<Utc>>,
    pub(super) password_hash: String,
    pub(super) firebase_key: Option<FirebaseKey>,
}

/// Which roles users get.
#[derive(Debug)]
pub struct Roles {
    existing: HashSet<String>,
    map: HashMap<String, String>,
    is_strict: bool,
}

impl Roles {
    /// Checks that the roles of `--role-map` exist. `existing`: the roles of the database.
    pub fn new(existing: HashSet<String>, format: Format, options: &Options) -> Result<Self, Error> {
        let map = options.role_map.clone();
        if let Some(missing) = map.values().find(|role| !existing.contains(*role)) {
            return Err(Error::invalid("role-map", Code::Unknown, format!("role {missing} does not exist")));
        }
        Ok(Self { existing, map, is_strict: format.is_own() })
    }

    /// Returns the roles of a user, and those that do not exist here.
    fn of(&self, names: Vec<String>) -> Result<(Vec<RoleName>, Vec<String>), Wrong> {
        let (mut roles, mut dropped) = (vec![RoleName::member()], Vec::new());
        for name in names {
            let role = self.map.get(&name).unwrap_or(&name);
            match role.parse::<RoleName>() {
                Ok(role) if self.existing.contains(role.as_str()) => roles.push(role),
                Ok(role) if self.is_strict => {
                    return Err(Wrong::new("roles", format!("role {role} does not exist; create it first")));
                }
                // Not repeated: the text may be of another column.
                Err(_) if self.is_strict => return Err(Wrong::new("roles", "has a text that is no name of a role")),
                // Bounded: rows wait in memory for their batch.
                _ if dropped.len() < MOST_DROPPED => dropped.push(name.chars().take(LONGEST_NAME).collect()),
                _ => {}
            }
        }
        roles.sort();
        roles.dedup();
        Ok((roles, dropped))
    }
}

/// Checks a record.
pub(super) fn check(record: Record, roles: &Roles) -> Result<Row, Wrong> {
    let email = record.email.as_deref().map(str::parse::<Email>).transpose().map_err(wrong)?;
    let username = username(&record, email.as_ref())?;
    users::check_own_address(&username, email.as_ref()).map_err(wrong)?;
    let display_name = record.display_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let display_name = display_name.map(str::parse::<DisplayName>).transpose().map_err(wrong)?;
    let (roles, dropped) = roles.of(record.roles)?;
    let (password_hash, firebase_key) = password_hash(record.password_hash.as_deref())?;
    Ok(Row {
        username,
        email,
        display_name,
        roles,
        dropped,
        disabled: record.disabled,
        created_at: record.created_at,
        last_login_at: record.last_login_at,
        password_hash,
        firebase_key,
    })
}

fn wrong(error: FieldError) -> Wrong {
    Wrong::new(error.field, error.message)
}

/// Returns the username of the source or, if it has none, the email. If that does not fit, returns the id of the source:
/// the user then logs in by email.
fn username(record: &Record, email: Option<&Email>) -> Result<Username, Wrong> {
    if let Some(name) = &record.username {
        return name.parse().map_err(wrong);
    }
    if let Some(name) = email.and_then(|email| email.as_str().parse().ok()) {
        return Ok(name);
    }
    let id = record.id.as_deref().ok_or_else(|| Wrong::new("username", "is required"))?;
    // UUIDs are ids of users here, and Auth0 has `auth0|5f7c8ec7c33c6c004bbafe82`.
    let id = if uuid::Uuid::try_parse(id).is_ok() { format!("user-{id}") } else { id.replace('|', "-") };
    id.parse().map_err(wrong)
}

/// Returns what to store as the hash, and its Firebase key.
fn password_hash(hash: Option<&str>) -> Result<(String, Option<FirebaseKey>), Wrong> {
    let none = || (NO_PASSWORD.to_owned(), None);
    let Some(hash) = hash else { return Ok(none()) };
    match passwords::check_imported(hash) {
        Ok(imported) => Ok((imported.text, imported.firebase_key)),
        Err(RefusedHash::Unusable) => Ok(none()),
        Err(refused) => Err(Wrong::new("password_hash", refused.to_string())),
    }
}
