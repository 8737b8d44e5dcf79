//! What commands print: tables and sentences for people, JSON for machines.

use std::io::{self, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Outcome;

/// What people look for first; the other members follow.
const FIRST: [&str; 9] = ["id", "username", "client_id", "client_secret", "key", "name", "display_name", "email", "type"];

/// How to print.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// A list: a row for each, or an array.
    pub(super) fn table<T: Serialize>(
        self,
        json: &[T],
        head: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Outcome {
        if self.json {
            return print_json(&json);
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(head.to_vec());
        let cells = |row: Vec<String>| {
            // A column without a name holds remarks, such as `disabled`: no remark is no dash.
            let cell = |(cell, name): (&String, &&str)| harmless(if name.is_empty() { cell } else { or_dash(cell) });
            row.iter().zip(head).map(cell).collect::<Vec<_>>()
        };
        table.add_rows(rows.into_iter().map(cells));
        print(&table.trim_fmt())
    }

    /// One thing: a line for each of its members, or an object.
    pub(super) fn object<T: Serialize>(self, json: &T) -> Outcome {
        if self.json {
            return print_json(json);
        }
        let serde_json::Value::Object(members) = serde_json::to_value(json)? else { return print_json(json) };
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
        for (name, value) in members {
            table.add_row(vec![name, harmless(or_dash(&plain(&value)))]);
        }
        print(&table.trim_fmt())
    }

    /// One value, or an object with it.
    pub(super) fn value(self, name: &str, value: &str) -> Outcome {
        if self.json { print_json(&serde_json::json!({name: value})) } else { print(value) }
    }

    /// That something was done: nothing to say to a machine.
    pub(super) fn done(self, sentence: &str) -> Outcome {
        if self.json { print_json(&serde_json::json!({})) } else { print(sentence) }
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// People choose their names: what would steer a terminal is shown instead of done.
fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}

fn print_json(value: &impl Serialize) -> Outcome {
    print(&serde_json::to_string_pretty(value)?)
}

/// In one piece. Who closes the pipe early (`| head`) has seen enough: that is no error.
pub(super) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// A time as people read it in a table, and as JSON has it.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(harmless("Mária \u{1b}[31m\n\u{9b}"), "Mária \\u{1b}[31m\\n\\u{9b}");
    }
}
