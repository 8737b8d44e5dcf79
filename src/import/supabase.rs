//! Supabase: the table `auth.users`, as CSV with the names of its columns in the first line, or as the `COPY` block of a
//! dump.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    Found, Record, Wrong,
    csv::require,
    fields::Fields,
    source::Input,
    stream::{self, Each, FileError, as_object},
};

const REQUIRED: [&str; 3] = ["id", "email", "encrypted_password"];

pub(super) fn read(mut input: Input, each: Each) -> Result<(), FileError> {
    match stream::first_byte(&mut input)? {
        // Names of columns are in lower case; a dump begins with a comment, SET or COPY.
        Some(b'-' | b'S' | b'C' | b'B' | b'\\') => copy_block(input, each),
        _ => stream::table(input, None, &|names| require(names, &REQUIRED), each),
    }
}

/// Reads the `COPY` block of `auth.users` in a dump.
fn copy_block(input: Input, each: Each) -> Result<(), FileError> {
    let mut state = State::Before;
    stream::lines(input, &mut |number, line| {
        match &state {
            State::Before => {
                if let Some(names) = line.ok().and_then(columns) {
                    require(&names, &REQUIRED)?;
                    state = State::Within(names);
                }
            }
            State::Within(_) if matches!(line, Ok(b"\\.")) => state = State::After,
            State::Within(names) => each(number, line.and_then(|line| row(names, line)))?,
            State::After => {}
        }
        Ok(())
    })?;
    let is_there = !matches!(state, State::Before);
    if is_there { Ok(()) } else { Err(FileError::Structure("there is no COPY of auth.users in the file".to_owned())) }
}

enum State {
    Before,
    Within(Vec<String>),
    After,
}

/// Returns the columns of `COPY auth.users (id, email, …) FROM stdin;`.
fn columns(line: &[u8]) -> Option<Vec<String>> {
    let line = std::str::from_utf8(line).ok()?.replace('"', "");
    let (columns, end) = line.strip_prefix("COPY auth.users (")?.split_once(')')?;
    end.trim_start().starts_with("FROM stdin").then(|| columns.split(',').map(|name| name.trim().to_owned()).collect())
}

fn row(names: &[String], line: &[u8]) -> Result<Value, Wrong> {
    let values: Vec<Option<Vec<u8>>> = line.split(|byte| *byte == b'\t').map(unescaped).collect();
    as_object(names, values.iter().map(Option::as_deref))
}

/// Returns a value of a `COPY` block. `None`: NULL.
fn unescaped(value: &[u8]) -> Option<Vec<u8>> {
    if value == b"\\N" {
        return None;
    }
    let mut bytes = value.iter().copied();
    let mut text = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'\\' {
            bytes.next().unwrap_or(b'\\')
        } else {
            text.push(byte);
            continue;
        };
        text.push(match byte {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
    }
    Some(text)
}

pub(super) fn record(fields: Fields, now: DateTime<Utc>) -> Result<Found, Wrong> {
    if fields.text("deleted_at")?.is_some() || fields.flag("is_anonymous")?.unwrap_or(false) {
        return Ok(Found::Skipped);
    }
    let is_banned = match fields.text("banned_until")? {
        Some("infinity") => true,
        _ => fields.time("banned_until")?.is_some_and(|until| until > now),
    };
    Ok(Found::User(Record {
        id: fields.owned("id")?,
        username: None,
        email: fields.owned("email")?,
        display_name: display_name(fields),
        roles: Vec::new(),
        disabled: is_banned,
        created_at: fields.time("created_at")?,
        last_login_at: fields.time("last_sign_in_at")?,
        password_hash: fields.owned("encrypted_password")?,
    }))
}

/// Returns the name in the user's own data, whose form the application chose.
fn display_name(fields: Fields) -> Option<String> {
    let data = fields.text("raw_user_meta_data").ok()??;
    let data: Value = serde_json::from_str(data).ok()?;
    let name = ["full_name", "name", "display_name"].iter().find_map(|name| data.get(name)?.as_str())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
