//! Ory Kratos: identities, as its API lists them, in an array or one a line. Traits have the form that the application
//! chose; those of Ory's own examples are read.

use serde_json::Value;

use super::{Found, Record, Wrong, fields::Fields};

pub(super) fn record(fields: Fields) -> Result<Found, Wrong> {
    let traits = fields.object("traits")?.ok_or_else(|| Wrong::new("traits", "is required"))?;
    Ok(Found::User(Record {
        id: fields.owned("id")?,
        username: traits.owned("username")?,
        email: traits.owned("email")?,
        display_name: display_name(traits)?,
        roles: Vec::new(),
        disabled: fields.text("state")? == Some("inactive"),
        created_at: fields.time("created_at")?,
        last_login_at: None,
        password_hash: password_hash(fields)?,
    }))
}

fn display_name(traits: Fields) -> Result<Option<String>, Wrong> {
    match traits.value("name") {
        Some(Value::Object(name)) => Fields(name).full_name("first", "last"),
        _ => traits.owned("name"),
    }
}

fn password_hash(fields: Fields) -> Result<Option<String>, Wrong> {
    let password = fields.object("credentials")?.map(|credentials| credentials.object("password")).transpose()?;
    let config = password.flatten().map(|password| password.object("config")).transpose()?;
    Ok(config.flatten().map(|config| config.owned("hashed_password")).transpose()?.flatten())
}
