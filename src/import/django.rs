//! Django: `dumpdata`, with `auth.user` or a custom user model, and `auth.group` for the names of groups.

use std::collections::HashMap;

use serde_json::Value;

use super::{Found, Record, Wrong, fields::Fields};

/// The maximum number of groups.
const MOST_GROUPS: usize = 100_000;

/// The groups that were read so far, by their primary keys.
#[derive(Default)]
pub(super) struct Groups(HashMap<String, String>);

impl Groups {
    /// Notes a group, if the object is one.
    pub(super) fn note(&mut self, object: &Value) {
        let is_group = object.get("model").and_then(Value::as_str) == Some("auth.group");
        let name = object.get("fields").and_then(|fields| fields.get("name")).and_then(Value::as_str);
        if let (true, Some(key), Some(name)) = (is_group, object.get("pk").and_then(key), name)
            && self.0.len() < MOST_GROUPS
        {
            self.0.insert(key, name.to_owned());
        }
    }
}

/// Returns a primary key as a text.
fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns whether the groups of an object are all known.
pub(super) fn is_resolved(object: &Value, groups: &Groups) -> bool {
    let list = object.get("fields").and_then(|fields| fields.get("groups")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(key).all(|key| groups.0.contains_key(&key))
}

/// An object is a user if it has a password and a name, whatever its model is called.
pub(super) fn record(fields: Fields, groups: &Groups) -> Result<Found, Wrong> {
    let Some(of_model) = fields.object("fields")? else { return Ok(Found::Other) };
    let is_user = of_model.0.contains_key("password")
        && (of_model.0.contains_key("username") || of_model.0.contains_key("email"));
    if !is_user {
        return Ok(Found::Other);
    }
    let mut roles = group_names(of_model, groups)?;
    for flag in ["is_superuser", "is_staff"] {
        if of_model.flag(flag)?.unwrap_or(false) {
            roles.push(flag.to_owned());
        }
    }
    Ok(Found::User(Record {
        id: fields.value("pk").and_then(key),
        username: of_model.owned("username")?,
        email: of_model.owned("email")?,
        display_name: of_model.full_name("first_name", "last_name")?,
        roles,
        disabled: !of_model.flag("is_active")?.unwrap_or(true),
        created_at: of_model.time("date_joined")?,
        last_login_at: of_model.time("last_login")?,
        password_hash: of_model.owned("password")?,
    }))
}

fn group_names(of_model: Fields, groups: &Groups) -> Result<Vec<String>, Wrong> {
    let wrong = || Wrong::new("groups", "must be a list of primary keys, or of lists of a name");
    let Some(list) = of_model.value("groups") else { return Ok(Vec::new()) };
    let name = |value: &Value| match value {
        // `--natural-foreign`.
        Value::Array(name) => name.first().and_then(Value::as_str).map(str::to_owned).ok_or_else(wrong),
        other => {
            let key = key(other).ok_or_else(wrong)?;
            Ok(groups.0.get(&key).cloned().unwrap_or_else(|| "(unknown group)".to_owned()))
        }
    };
    list.as_array().ok_or_else(wrong)?.iter().map(name).collect()
}
