//! Reads a file of any format into checked rows.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    Format, Found, LONGEST_NAME, Options, Refusal, Roles, Source, Wrong, auth0,
    check::{self, Row},
    csv,
    django::{self, Groups},
    fields::Fields,
    firebase, jsonl, keycloak, kratos,
    stream::{self, FileError},
    supabase,
};

/// What becomes of a record, before the database is asked.
pub struct Item {
    pub(super) record: u64,
    pub(super) checked: Checked,
}

pub(super) enum Checked {
    Row(Box<Row>),
    Skipped,
    Refused(Refusal),
}

impl Item {
    /// Returns why the record is refused, if it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.checked {
            Checked::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Reads a file, and passes each record to `take`, until that returns `false`. An error is one of the whole file: the
/// records before it were passed.
pub fn read(
    source: Source,
    format: Format,
    options: &Options,
    roles: &Roles,
    now: DateTime<Utc>,
    take: &mut dyn FnMut(Item) -> bool,
) -> Result<(), FileError> {
    let mut emit = |record, value: Option<&Value>, found: Result<Found, Wrong>| {
        let checked = match found {
            Ok(Found::Other) => return Ok(()),
            Ok(Found::Skipped) => Checked::Skipped,
            Ok(Found::User(user)) => check::check(user, roles)
                .map_or_else(|wrong| refuse(record, value, wrong), |row| Checked::Row(Box::new(row))),
            Err(wrong) => refuse(record, value, wrong),
        };
        if take(Item { record, checked }) { Ok(()) } else { Err(FileError::Stopped) }
    };
    if format == Format::Django {
        return read_django(source, &mut emit);
    }
    let make = |fields: Fields| match format {
        Format::Jsonl | Format::Csv => jsonl::record(fields),
        Format::Keycloak => keycloak::record(fields),
        Format::Auth0 => auth0::record(fields),
        Format::Firebase => firebase::record(fields, options.firebase.as_ref()),
        Format::Supabase => supabase::record(fields, now),
        Format::Kratos => kratos::record(fields),
        Format::Django => Ok(Found::Other),
    };
    let mut each = |record, value: Result<Value, Wrong>| match value {
        Ok(value) => emit(record, Some(&value), Fields::of(&value).and_then(make)),
        Err(wrong) => emit(record, None, Err(wrong)),
    };
    let input = source.into_input();
    match format {
        Format::Jsonl => stream::json_lines(input, &mut each),
        Format::Csv => csv::read(input, &mut each),
        Format::Keycloak => stream::member(input, "users", &mut each),
        Format::Firebase => firebase::read(input, &mut each),
        Format::Supabase => supabase::read(input, &mut each),
        Format::Auth0 | Format::Kratos | Format::Django => stream::array_or_lines(input, &mut each),
    }
}

type Emit<'a> = &'a mut dyn FnMut(u64, Option<&Value>, Result<Found, Wrong>) -> Result<(), FileError>;

/// Reads the groups first, if the file can be read twice. Of a pipe, the users whose groups have not come yet wait in
/// memory.
fn read_django(source: Source, emit: Emit) -> Result<(), FileError> {
    let (mut groups, mut waiting) = (Groups::default(), Vec::new());
    let first = source.first_pass()?;
    let is_complete = first.is_some();
    if let Some(first) = first {
        // An error is reported by the second pass, in its place.
        let done = stream::array_or_lines(first.into_input(), &mut |_, value| {
            if let Ok(value) = &value {
                groups.note(value);
            }
            Ok(())
        });
        drop(done);
    }
    let of = |value: &Value, groups: &Groups| Fields::of(value).and_then(|fields| django::record(fields, groups));
    let done = stream::array_or_lines(source.into_input(), &mut |record, value| {
        let value = match value {
            Ok(value) => value,
            Err(wrong) => return emit(record, None, Err(wrong)),
        };
        groups.note(&value);
        if is_complete || django::is_resolved(&value, &groups) {
            return emit(record, Some(&value), of(&value, &groups));
        }
        waiting.push((record, value));
        Ok(())
    });
    for (record, value) in waiting {
        emit(record, Some(&value), of(&value, &groups))?;
    }
    done
}

fn refuse(record: u64, value: Option<&Value>, wrong: Wrong) -> Checked {
    Checked::Refused(Refusal { record, user: value.and_then(name), field: wrong.field, reason: wrong.reason })
}

/// The members that name a user in one of the formats, in this order.
const NAMES: [&str; 7] = ["username", "email", "Email", "localId", "user_id", "id", "pk"];

/// Returns the name of a user in an entry of any format.
fn name(value: &Value) -> Option<String> {
    let objects = [Some(value), value.get("fields"), value.get("traits")];
    let mut texts = objects.iter().flatten().flat_map(|object| NAMES.map(|name| object.get(name)?.as_str()));
    let text = texts.find_map(|text| text.filter(|text| !text.is_empty()))?;
    Some(text.chars().take(LONGEST_NAME).collect())
}
