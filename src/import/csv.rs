//! User records as CSV: the names of `jsonl.rs` in the first line, and roles separated by spaces.

use serde_json::Value;

use super::{
    jsonl::NAMES,
    source::Input,
    stream::{self, Each, FileError},
};

pub(super) fn read(input: Input, each: Each) -> Result<(), FileError> {
    stream::table(input, None, &check, &mut |line, row| each(line, row.map(with_roles)))
}

/// Checks the names of the columns.
fn check(names: &[String]) -> Result<(), FileError> {
    let is_known = |name: &String| NAMES.contains(&name.as_str());
    let is_repeated = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
    if !names.iter().all(is_known) || is_repeated {
        let message = format!("the first line must name the columns: some of {}, each once", NAMES.join(", "));
        return Err(FileError::Structure(message));
    }
    Ok(())
}

fn with_roles(mut row: Value) -> Value {
    if let Some(roles) = row.get_mut("roles") {
        *roles = roles.as_str().unwrap_or_default().split_whitespace().map(Value::from).collect();
    }
    row
}

/// Checks that a table has these columns.
pub(super) fn require(names: &[String], required: &[&str]) -> Result<(), FileError> {
    match required.iter().find(|required| !names.iter().any(|name| name == *required)) {
        Some(missing) => Err(FileError::Structure(format!("there is no column {missing:?} in the first line"))),
        None => Ok(()),
    }
}
