//! The members of a JSON object, each with the name that an error is reported with.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

use super::Wrong;

/// The members of an object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Returns the members of an entry.
    pub(super) fn of(value: &'a Value) -> Result<Self, Wrong> {
        value.as_object().map(Self).ok_or_else(|| Wrong::new("", "must be a JSON object"))
    }

    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a text. An empty one counts as absent.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Wrong> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Wrong::new(name, "must be a text")),
        }
    }

    /// Returns a text for a record.
    pub(super) fn owned(self, name: &str) -> Result<Option<String>, Wrong> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// Returns the first of several texts that is there.
    pub(super) fn first_text(self, names: &[&str]) -> Result<Option<String>, Wrong> {
        for name in names {
            if let Some(text) = self.text(name)? {
                return Ok(Some(text.to_owned()));
            }
        }
        Ok(None)
    }

    /// Returns a Boolean, which CSV has as a text.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Wrong> {
        let wrong = || Wrong::new(name, "must be true or false");
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "" => Ok(None),
                "true" | "t" | "1" => Ok(Some(true)),
                "false" | "f" | "0" => Ok(Some(false)),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }

    /// Returns a number, which may stand in a text.
    pub(super) fn number(self, name: &str) -> Result<Option<u64>, Wrong> {
        let number = match self.value(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_u64(),
        };
        number.map(Some).ok_or_else(|| Wrong::new(name, "must be a number"))
    }

    /// Returns a list of texts.
    pub(super) fn texts(self, name: &str) -> Result<Vec<String>, Wrong> {
        let wrong = || Wrong::new(name, "must be a list of texts");
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        let values = value.as_array().ok_or_else(wrong)?;
        values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
    }

    /// Returns the members of an object.
    pub(super) fn object(self, name: &str) -> Result<Option<Self>, Wrong> {
        let wrong = || Wrong::new(name, "must be an object");
        self.value(name).map(|value| value.as_object().map(Self).ok_or_else(wrong)).transpose()
    }

    /// Returns a time: RFC 3339, as databases write it, in milliseconds since 1970, or `{"$date": …}`.
    pub(super) fn time(self, name: &str) -> Result<Option<DateTime<Utc>>, Wrong> {
        let value = match self.value(name) {
            Some(Value::Object(inner)) => inner.get("$date"),
            other => other,
        };
        let time = match value {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => parse_time(text),
            Some(other) => other.as_i64().and_then(DateTime::from_timestamp_millis),
        };
        let range = DateTime::UNIX_EPOCH.timestamp()..END;
        let time = time.filter(|time| range.contains(&time.timestamp()));
        time.map(Some).ok_or_else(|| Wrong::new(name, "must be a time between 1970 and 9999"))
    }

    /// Returns first and last name as one.
    pub(super) fn full_name(self, first: &str, last: &str) -> Result<Option<String>, Wrong> {
        let names = [self.text(first)?, self.text(last)?].map(|name| name.unwrap_or_default().trim());
        let name = names.join(" ").trim().to_owned();
        Ok(Some(name).filter(|name| !name.is_empty()))
    }
}

/// The beginning of the year 10000.
const END: i64 = 253_402_300_800;

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(milliseconds) = text.parse() {
        return DateTime::from_timestamp_millis(milliseconds);
    }
    let text = text.strip_suffix(" UTC").map_or_else(|| text.to_owned(), |time| format!("{time}+00"));
    if let Ok(time) = DateTime::parse_from_rfc3339(&text) {
        return Some(time.to_utc());
    }
    // Postgres: an offset of hours, and a space.
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(&text, format) {
            return Some(time.to_utc());
        }
    }
    // Django without time zones, and dates.
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
        .map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_each_system_are_read() {
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000Z",
            "2026-01-31T13:00:00+01:00",
            "2026-01-31 12:00:00+00",
            "2026-01-31 12:00:00.000000+00",
            "2026-01-31 12:00:00 UTC",
            "2026-01-31T12:00:00",
            "1769860800000",
        ] {
            assert_eq!(parse_time(text).unwrap().timestamp(), 1_769_860_800, "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00:00Z"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
