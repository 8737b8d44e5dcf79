//! Lists of users: filters and cursor pagination.

use super::{
    Login, User,
    sql::{
        BATCH, BY_USERNAMES, COUNT_WITH_ROLE, COUNT_WITH_SCOPE, LIST, LIST_DISABLED, LIST_EMAIL, LIST_LOGINS,
        LIST_ROLE, LIST_USERNAME, LoginRow, UserRow,
    },
};
use crate::{
    ids::UserId,
    store::{Conn, StoreError, conn},
};

/// A filter for users. A user matches if all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A prefix of the user name or, if it has an `@`, of the e-mail; ASCII letters match in either case.
    pub q: Option<String>,
    /// A role of the user.
    pub role: Option<String>,
    /// Whether the user is disabled.
    pub disabled: Option<bool>,
}

/// The cursor of a page: the last user of the previous page. With a prefix filter, users are in the order of the searched
/// column, otherwise of their ids.
#[derive(Clone, Debug)]
pub enum After {
    /// The value of the searched column, in lower case.
    Text(String),
    /// An id.
    Id(UserId),
}

impl Filter {
    /// Returns whether the filter searches e-mails instead of user names.
    pub(super) fn is_of_emails(&self) -> bool {
        self.q.as_ref().is_some_and(|q| q.contains('@'))
    }

    /// Returns the cursor of the page after this user.
    #[must_use]
    pub fn after(&self, user: &User) -> After {
        match (&self.q, self.is_of_emails()) {
            (None, _) => After::Id(user.id),
            (Some(_), false) => After::Text(user.username.as_str().to_ascii_lowercase()),
            (Some(_), true) => {
                After::Text(user.email.as_ref().map(|email| email.as_str().to_ascii_lowercase()).unwrap_or_default())
            }
        }
    }
}

/// Returns at most `limit` users after a cursor. Every page costs the same, however far it is from the first.
pub async fn list(conn: &mut Conn, filter: &Filter, after: Option<After>, limit: i64) -> Result<Vec<User>, StoreError> {
    let Filter { q, role, disabled } = filter;
    let rows = if let Some(q) = q {
        let q = q.to_ascii_lowercase();
        let from = match after {
            // The smallest text after `last`: names and e-mails have no character up to U+0001.
            Some(After::Text(last)) if last.starts_with(&q) => last + "\u{1}",
            _ => q.clone(),
        };
        // Names and e-mails are ASCII, so this is greater than all texts with the prefix.
        let end = q + "\u{10ffff}";
        let sql = if filter.is_of_emails() { LIST_EMAIL } else { LIST_USERNAME };
        conn::all!(conn, UserRow, sql, from, limit, role.as_deref(), *disabled, end)?
    } else {
        let id = match after {
            Some(After::Id(id)) => id,
            _ => UserId::from([0; 16]),
        };
        match (role, disabled) {
            (Some(role), disabled) => conn::all!(conn, UserRow, LIST_ROLE, id, limit, role.as_str(), *disabled)?,
            (None, Some(disabled)) => conn::all!(conn, UserRow, LIST_DISABLED, id, limit, *disabled)?,
            (None, None) => conn::all!(conn, UserRow, LIST, id, limit)?,
        }
    };
    rows.into_iter().map(User::try_from).collect()
}

/// Returns at most `limit` users in the order of their ids, after the id `last`.
pub(crate) async fn list_by_id(conn: &mut Conn, last: Option<UserId>, limit: i64) -> Result<Vec<User>, StoreError> {
    let last = last.unwrap_or_else(|| UserId::from([0; 16]));
    conn::all!(conn, UserRow, LIST, last, limit)?.into_iter().map(User::try_from).collect()
}

/// Returns at most `limit` users with their password hashes, in the order of their ids, after the id `last`.
pub(crate) async fn list_logins(conn: &mut Conn, last: Option<UserId>, limit: i64) -> Result<Vec<Login>, StoreError> {
    let last = last.unwrap_or_else(|| UserId::from([0; 16]));
    conn::all!(conn, LoginRow, LIST_LOGINS, last, limit)?.into_iter().map(Login::try_from).collect()
}

/// Returns the users with these names, which are in lower case.
pub(crate) async fn list_by_names(conn: &mut Conn, names: &[String]) -> Result<Vec<User>, StoreError> {
    let mut found = Vec::new();
    for names in names.chunks(BATCH) {
        // Unused parameters repeat a name.
        let rows =
            conn::all_of!(conn, UserRow, BY_USERNAMES, names.iter().cycle().take(BATCH), |name| [name.as_str()])?;
        found.extend(rows);
    }
    found.into_iter().map(User::try_from).collect()
}

/// Returns the number of users who have a role.
pub(crate) async fn count_with_role(conn: &mut Conn, role: &str) -> Result<i64, StoreError> {
    conn::scalar!(conn, i64, COUNT_WITH_ROLE, role)
}

/// Returns the number of users who have a scope, through whichever of their roles.
pub(crate) async fn count_with_scope(conn: &mut Conn, scope: &str) -> Result<i64, StoreError> {
    conn::scalar!(conn, i64, COUNT_WITH_SCOPE, scope)
}
