//! User records: an object a line, as `grantd user export` writes them.

use super::{Found, Record, Wrong, fields::Fields};

/// The members of a user record.
pub(super) const NAMES: [&str; 7] =
    ["username", "email", "display_name", "roles", "disabled", "created_at", "password_hash"];

pub(super) fn record(fields: Fields) -> Result<Found, Wrong> {
    if fields.0.keys().any(|name| !NAMES.contains(&name.as_str())) {
        return Err(Wrong::new("", format!("has a member that is not one of {}", NAMES.join(", "))));
    }
    Ok(Found::User(Record {
        username: fields.owned("username")?,
        email: fields.owned("email")?,
        display_name: fields.owned("display_name")?,
        roles: fields.texts("roles")?,
        disabled: fields.flag("disabled")?.unwrap_or(false),
        created_at: fields.time("created_at")?,
        password_hash: fields.owned("password_hash")?,
        ..Record::default()
    }))
}
