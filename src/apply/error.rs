//! Errors of set-up files.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::error::{Code, Error, FieldError};

/// The maximum number of problems that are listed.
const MOST: usize = 20;

/// The error of a set-up file that was not applied. The database is unchanged.
#[derive(Debug)]
pub enum ApplyError {
    /// The file cannot be read, is malformed, or does not fit the database.
    File {
        /// The path of the file.
        path: PathBuf,
        /// All problems that were found, each with its place in the file.
        problems: Vec<String>,
    },
    /// The database failed, or the passwords could not be hashed.
    Failed(Error),
}

impl ApplyError {
    /// Returns the error of the file at this path.
    pub(super) fn of(path: &Path, error: Error) -> Self {
        let problems = match error {
            Error::Invalid(fields) => fields.iter().map(ToString::to_string).collect(),
            Error::RuleViolation(why) => vec![why.to_owned()],
            other => return Self::Failed(other),
        };
        Self::File { path: path.to_owned(), problems }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, problems) = match self {
            Self::Failed(error) => return error.fmt(f),
            Self::File { path, problems } => (path.display(), problems),
        };
        if let [problem] = problems.as_slice() {
            return write!(f, "{path}: {problem}");
        }
        write!(f, "{path}: {} errors:", problems.len())?;
        for problem in problems.iter().take(MOST) {
            write!(f, "\n  {problem}")?;
        }
        if problems.len() > MOST { write!(f, "\n  and {} more", problems.len() - MOST) } else { Ok(()) }
    }
}

impl std::error::Error for ApplyError {}

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
