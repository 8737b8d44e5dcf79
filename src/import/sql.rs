//! Statements of an import. Their number of rows varies, so their texts are put together; they contain no values.

use std::fmt::Write as _;

use crate::ids::UserId;

/// Returns ` ($1, $2), ($3, $4)` for two rows of two columns.
fn rows(count: usize, columns: usize) -> String {
    let mut text = String::new();
    for number in 1..=count * columns {
        let before = match (number % columns, number) {
            (_, 1) => " (",
            (1, _) => "), (",
            _ => ", ",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}${number}");
    }
    text + ")"
}

/// Inserts users, except those whose name or email is taken, and returns the ids of the others.
pub(super) fn insert_users(count: usize) -> String {
    format!(
        "INSERT INTO users (id, username, email, display_name, password_hash, disabled, created_at, updated_at, \
         last_login_at) VALUES{} ON CONFLICT DO NOTHING RETURNING id",
        rows(count, 9)
    )
}

/// Inserts roles of users, and returns the ids of the users.
pub(super) fn insert_roles(count: usize) -> String {
    format!("INSERT INTO user_roles (user_id, role) VALUES{} RETURNING user_id", rows(count, 2))
}

/// Reads the users with any of these names, the first half of the parameters, or emails, the second half. All are in
/// lower case.
pub(super) fn taken(count: usize) -> String {
    let list = |from: usize| (from..from + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    let columns = "SELECT id, lower(username) AS username, lower(email) AS email FROM users WHERE lower";
    format!("{columns}(username) IN ({}) UNION ALL {columns}(email) IN ({})", list(1), list(count + 1))
}

/// A user that has a name or an email already.
#[derive(sqlx::FromRow)]
pub(super) struct TakenRow {
    pub(super) id: UserId,
    pub(super) username: String,
    pub(super) email: Option<String>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_are_numbered_through() {
        assert_eq!(super::rows(2, 2), " ($1, $2), ($3, $4)");
        assert_eq!(super::rows(1, 3), " ($1, $2, $3)");
    }
}
