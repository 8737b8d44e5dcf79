//! Errors of set-up files.

use std::{fmt, io, path::PathBuf};

use crate::error::{Code, Error, FieldError};

/// The maximum number of errors that are listed.
const MOST: usize = 20;

/// The error of a set-up file that was not applied. The database is unchanged.
#[derive(Debug)]
pub enum ApplyError {
    /// The file cannot be read.
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The file is not valid TOML, or has unknown or malformed fields.
    Form {
        /// The line, from 1.
        line: usize,
        /// The entry and its field, if known.
        place: String,
        /// The problem.
        problem: String,
    },
    /// The desired state is invalid, or a change failed.
    Refused(Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Form { line, place, problem } if place.is_empty() => write!(f, "line {line}: {problem}"),
            Self::Form { line, place, problem } => write!(f, "line {line}, {place}: {problem}"),
            Self::Refused(Error::Invalid(fields)) if fields.len() > 1 => {
                write!(f, "{} things are wrong:", fields.len())?;
                for field in fields.iter().take(MOST) {
                    write!(f, "\n  {field}")?;
                }
                if fields.len() > MOST { write!(f, "\n  and so on") } else { Ok(()) }
            }
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// An entry of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The name of the section.
    pub(super) section: &'static str,
    /// The index in the section, from 0.
    pub(super) index: usize,
}

impl Place {
    /// Returns an error of a field of the entry.
    pub(super) fn error(self, field: &str, code: Code, message: impl Into<String>) -> FieldError {
        self.of(FieldError::new(field, code, message))
    }

    /// Adds the entry to the field of an error.
    pub(super) fn of(self, error: FieldError) -> FieldError {
        let field = format!("{}[{}].{}", self.section, self.index, error.field);
        error.of_field(field)
    }

    /// Attributes an error to this entry.
    pub(super) fn blame(self, error: Error) -> Error {
        match error {
            Error::Invalid(fields) => Error::Invalid(fields.into_iter().map(|field| self.of(field)).collect()),
            Error::Taken { field } => Error::Invalid(vec![self.error(field, Code::Format, "is already taken")]),
            Error::RuleViolation(why) => {
                let entry = format!("{}[{}]", self.section, self.index);
                Error::Invalid(vec![FieldError::new(entry, Code::Format, why)])
            }
            other => other,
        }
    }
}
