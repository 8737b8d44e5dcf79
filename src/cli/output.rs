//! What commands print: tables and sentences for people, JSON for machines.

use std::io::{self, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::Outcome;

/// What people look for first; the other members follow.
const FIRST: [&str; 9] =
    ["id", "username", "client_id", "client_secret", "key", "name", "display_name", "email", "type"];

/// How to print.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// A list: a row for each, or an array. `what` names the things where there are none.
    pub(super) fn table<T: Serialize>(
        self,
        what: &str,
        json: &[T],
        head: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Outcome {
        if self.json {
            return print_json(&json);
        }
        if json.is_empty() {
            return print(&format!("no {what}"));
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
        // Where standard output is no terminal, each row is a line.
        if let Ok(size) = tcgetwinsize(io::stdout()) {
            fit(&mut table, size.ws_col);
        }
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

    /// A changed thing: a sentence, or an object.
    pub(super) fn changed<T: Serialize>(self, json: &T, sentence: &str) -> Outcome {
        if self.json { print_json(json) } else { print(sentence) }
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

/// Breaks cells between words where the table is wider than the terminal. A word, such as an id, is never broken: people copy
/// it. The table is then wider than the terminal.
fn fit(table: &mut Table, columns: u16) {
    const PADDING: u16 = 2;
    let length = |word: &str| u16::try_from(word.chars().count()).unwrap_or(u16::MAX);
    let longest_word = |cell: &Cell| cell.content().split_whitespace().map(length).max();
    let mut least = 0_u16;
    for index in 0..table.column_count() {
        let cells = table.column_cells_with_header_iter(index);
        let longest = cells.flatten().filter_map(longest_word).max().unwrap_or_default();
        least = least.saturating_add(longest).saturating_add(PADDING);
        if let Some(column) = table.column_mut(index) {
            let width = longest.saturating_add(PADDING);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
        }
    }
    table.set_width(columns.max(least));
}

/// Escapes control characters: names of users, claims of forged tokens and the text of another server must not steer the
/// terminal.
pub(super) fn harmless(text: &str) -> String {
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
    use super::*;

    #[test]
    fn a_table_fits_the_terminal_and_breaks_no_word() {
        let id = "0199b3a0-0000-7000-8000-000000000001";
        let table = |columns| {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(["id", "scopes"]).add_row([id, "account items:read items:write users:read"]);
            fit(&mut table, columns);
            table.trim_fmt()
        };
        for (columns, lines) in [(0, 5), (20, 5), (60, 4), (70, 3), (200, 2)] {
            let shown = table(columns);
            assert_eq!(shown.lines().count(), lines, "{columns}:\n{shown}");
            let fits = shown.lines().all(|line| line.chars().count() <= usize::from(columns.max(53)));
            assert!(fits && shown.contains(id) && shown.contains("items:write"), "{columns}:\n{shown}");
        }
    }

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(harmless("Mária \u{1b}[31m\n\u{9b}"), "Mária \\u{1b}[31m\\n\\u{9b}");
    }
}
