//! The file `.env` in the working directory.

use std::{collections::BTreeSet, io};

/// Names of the variables that came from `.env`. Variables that the environment had already are left alone.
#[derive(Clone, Debug, Default)]
pub struct DotEnv(BTreeSet<String>);

/// `.env` exists and cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DotEnvError {
    /// A line is not `NAME=value`. Its number; never its text, which may be a secret.
    #[error(".env, line {0}: not NAME=value; put a value with spaces, # or $ in single quotes, and close every quote")]
    Line(usize),
    /// The file cannot be read.
    #[error(".env: {0}")]
    Unreadable(io::Error),
    /// The file cannot be parsed.
    #[error(".env: cannot be parsed; write one NAME=value per line")]
    Malformed,
}

/// Reads a text one line at a time, so that a parser that fails has read exactly to the end of the line at fault.
struct Lines<'t> {
    rest: &'t [u8],
    read: usize,
}

impl io::Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |end| end + 1);
        let length = line.min(buffer.len());
        let (chunk, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(chunk);
        self.rest = rest;
        self.read += usize::from(length == line && length > 0);
        Ok(length)
    }
}

/// Returns the names of the variables in the text of a file.
fn names(text: &str) -> Result<Vec<String>, DotEnvError> {
    let mut lines = Lines { rest: text.as_bytes(), read: 0 };
    let names: Result<_, _> = dotenvy::from_read_iter(&mut lines).map(|entry| entry.map(|(name, _)| name)).collect();
    names.map_err(|error| match error {
        // A quoted value may span lines: the error is told of the first of them.
        dotenvy::Error::LineParse(line, _) => {
            DotEnvError::Line(lines.read.saturating_sub(line.strip_suffix('\n').unwrap_or(&line).matches('\n').count()))
        }
        dotenvy::Error::Io(error) => DotEnvError::Unreadable(error),
        _ => DotEnvError::Malformed,
    })
}

impl DotEnv {
    /// Sets the file's variables in the environment of the process. Call it before any thread is started.
    pub fn load() -> Result<Self, DotEnvError> {
        let path = std::path::Path::new(".env");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).map_err(DotEnvError::Unreadable)?;
        let names = names(&text)?;
        let new = names.into_iter().filter(|name| std::env::var_os(name).is_none()).collect();
        dotenvy::from_read(text.as_bytes()).map_err(|_| DotEnvError::Malformed)?;
        Ok(Self(new))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
