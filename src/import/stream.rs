//! Streams of entries: the elements of a JSON array, lines, rows of CSV and of `COPY`. One entry is in memory at a time,
//! and its size and nesting are bounded.

use std::{
    fmt,
    io::{self, BufRead as _, Read as _},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    Wrong,
    source::{Gauge, Input, MOST_BYTES},
};

/// The error of a file as a whole. The records before it were read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The file is not JSON from here on.
    #[error("not valid JSON at line {line}, column {column}; records after it were not read")]
    Json {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The file is not an export of this system.
    #[error("{0}")]
    Structure(String),
    /// The reader is not needed any more.
    #[error("the import was ended")]
    Stopped,
}

/// What a file consists of: JSON values or, where a row has no form, an error. The number is that of the element or line.
pub(super) type Each<'a> = &'a mut dyn FnMut(u64, Result<Value, Wrong>) -> Result<(), FileError>;

/// Returns the first byte that is not white space, as far as the buffer reaches, and skips a byte order mark.
pub(super) fn first_byte(input: &mut Input) -> Result<Option<u8>, FileError> {
    if input.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.reader.consume(3);
    }
    Ok(input.reader.fill_buf()?.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
}

/// Reads a JSON array, or else JSON values of a line each.
pub(super) fn array_or_lines(mut input: Input, each: Each) -> Result<(), FileError> {
    match first_byte(&mut input)? {
        Some(b'[') => array(input, each),
        _ => json_lines(input, each),
    }
}

/// Reads a JSON array.
fn array(input: Input, each: Each) -> Result<(), FileError> {
    let Input { reader, gauge } = input;
    let mut stopped = None;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let elements = Elements { each, gauge: &gauge, stopped: &mut stopped };
    let done = elements.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    explain(done, stopped, "the file must be a JSON array of objects")
}

/// Reads the array that is a member of the JSON object in the file.
pub(super) fn member(input: Input, name: &'static str, each: Each) -> Result<(), FileError> {
    let Input { reader, gauge } = input;
    let (mut stopped, mut found) = (None, false);
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let object = Member { name, elements: Elements { each, gauge: &gauge, stopped: &mut stopped }, found: &mut found };
    let done = object.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let structure = format!("the file must be a JSON object with an array {name:?}");
    explain(done, stopped, &structure)?;
    if found { Ok(()) } else { Err(FileError::Structure(structure)) }
}

fn explain(done: serde_json::Result<()>, stopped: Option<FileError>, structure: &str) -> Result<(), FileError> {
    match (done, stopped) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(stopped)) => Err(stopped),
        // Not the error itself: it may repeat a value.
        (Err(error), None) => Err(match error.classify() {
            serde_json::error::Category::Io => FileError::Read(error.into()),
            serde_json::error::Category::Data => FileError::Structure(structure.to_owned()),
            _ => FileError::Json { line: error.line(), column: error.column() },
        }),
    }
}

/// The elements of an array, one after the other.
struct Elements<'a, 'e> {
    each: Each<'e>,
    gauge: &'a Gauge,
    /// Why the visitor ended the parser.
    stopped: &'a mut Option<FileError>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        loop {
            self.gauge.begin();
            let Some(value) = elements.next_element::<Value>()? else { return Ok(()) };
            number += 1;
            if let Err(error) = (self.each)(number, Ok(value)) {
                *self.stopped = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
    }
}

/// An object of which one member is read, and the others are skipped.
struct Member<'a, 'e> {
    name: &'static str,
    elements: Elements<'a, 'e>,
    found: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Member<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.elements.gauge.begin();
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Elements { each, gauge, stopped } = self.elements;
        while let Some(name) = members.next_key::<String>()? {
            if name == self.name && !*self.found {
                *self.found = true;
                members.next_value_seed(Elements { each: &mut *each, gauge, stopped: &mut *stopped })?;
                gauge.begin();
            } else {
                members.next_value_seed(Skip(gauge))?;
            }
        }
        Ok(())
    }
}

/// A value that is not needed. `IgnoredAny` would follow any depth, with memory for it.
struct Skip<'a>(&'a Gauge);

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.begin();
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Skip(self.0))?.is_some() {}
        self.0.begin();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key::<String>()?.is_some() {
            members.next_value_seed(Skip(self.0))?;
        }
        self.0.begin();
        Ok(())
    }
}

/// Reads JSON values of a line each.
pub(super) fn json_lines(input: Input, each: Each) -> Result<(), FileError> {
    lines(input, &mut |number, line| {
        let line = match line {
            Ok(line) if line.trim_ascii().is_empty() => return Ok(()),
            Ok(line) => line,
            Err(wrong) => return each(number, Err(wrong)),
        };
        let value = serde_json::from_slice(line);
        each(number, value.map_err(|error| Wrong::new("", format!("not valid JSON at column {}", error.column()))))
    })
}

/// The lines of a file, with their numbers.
pub(super) type EachLine<'a> = &'a mut dyn FnMut(u64, Result<&[u8], Wrong>) -> Result<(), FileError>;

/// Reads lines, without their ends.
pub(super) fn lines(mut input: Input, each: EachLine) -> Result<(), FileError> {
    first_byte(&mut input)?;
    let (mut number, mut line) = (0, Vec::new());
    loop {
        line.clear();
        number += 1;
        let read = input.reader.by_ref().take(MOST_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.len() > MOST_BYTES {
            input.reader.skip_until(b'\n')?;
            each(number, Err(Wrong::new("", "the line is longer than 1 MiB")))?;
            continue;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        each(number, Ok(line.strip_suffix(b"\r").unwrap_or(line)))?;
    }
}

/// Reads CSV. `head`: the names of the columns; `None`: they are in the first line. `check` accepts them, or not.
pub(super) fn table(
    mut input: Input,
    head: Option<&[&str]>,
    check: &dyn Fn(&[String]) -> Result<(), FileError>,
    each: Each,
) -> Result<(), FileError> {
    first_byte(&mut input)?;
    // The parser counts the end of a line after `\r` with the next row, whose number is then too low.
    let is_crlf = ends_lines_with_crlf(input.reader.buffer());
    let Input { reader, gauge } = input;
    let mut rows = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    let mut row = ::csv::ByteRecord::new();
    let mut names: Option<Vec<String>> = head.map(|head| head.iter().map(|&name| name.to_owned()).collect());
    loop {
        gauge.begin();
        let is_row = rows.read_byte_record(&mut row).map_err(|error| match error.into_kind() {
            ::csv::ErrorKind::Io(error) => FileError::Read(error),
            _ => FileError::Structure("not valid CSV".to_owned()),
        })?;
        if !is_row {
            return Ok(());
        }
        if let Some(names) = &names {
            let (line, record) = row.position().map_or((0, 0), |at| (at.line(), at.record()));
            let line = line + u64::from(is_crlf && record > 0);
            each(line, as_object(names, row.iter().map(Some)))?;
        } else {
            let found: Vec<_> = row.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
            check(&found)?;
            names = Some(found);
        }
    }
}

fn ends_lines_with_crlf(text: &[u8]) -> bool {
    let mut bytes = text.iter().zip(text.iter().skip(1));
    bytes.find(|(_, next)| **next == b'\n').is_some_and(|(before, _)| *before == b'\r')
}

/// Returns a row as an object of texts. Empty columns and NULL are left out.
pub(super) fn as_object<'a>(names: &[String], values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<Value, Wrong> {
    let values: Vec<_> = values.collect();
    if values.len() != names.len() {
        return Err(Wrong::new("", format!("the row has {} columns instead of {}", values.len(), names.len())));
    }
    let mut object = Map::new();
    for (name, value) in names.iter().zip(values) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let text = std::str::from_utf8(value).map_err(|_| Wrong::new(name.as_str(), "must be UTF-8"))?;
            object.insert(name.clone(), Value::from(text));
        }
    }
    Ok(Value::Object(object))
}
