//! Errors of the features. They know no HTTP: `http/problem.rs` and `oauth/error.rs` translate them.

use crate::store::{FromStore, StoreError};
pub use crate::validation::{Code, FieldError};

/// Why an operation failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The input is invalid. Lists all invalid fields.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// A value that must be unique is already taken.
    #[error("{field} is already taken")]
    Taken {
        /// The field with this value.
        field: &'static str,
    },
    /// It does not exist.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// Kind of thing: a user, a role, …
        what: &'static str,
        /// The requested name or id.
        name: String,
    },
    /// The caller lacks these scopes, which the change would grant, remove or make usable.
    #[error("missing scopes: {0}")]
    MissingScopes(grantd_guard::Scopes),
    /// A rule forbids the change; says which.
    #[error("{0}")]
    RuleViolation(&'static str),
    /// The queue of passwords to hash is full, or the wait in it was too long.
    #[error("too many passwords are being checked; retry later")]
    HashQueueFull,
    /// The blocklist of passwords cannot be read.
    #[error("the file of GRANTD_PASSWORD_BLOCKLIST cannot be read: {0}")]
    Blocklist(std::io::Error),
    /// The signing keys are sealed with another master key than this server's.
    #[error("the signing keys are sealed with another master key than this server's; check GRANTD_MASTER_KEY")]
    NoSigningKey,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

fn list(fields: &[FieldError]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Returns the text of the innermost cause of an error: that of an HTTP client says no more than that it failed.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

/// Returns a text without the codes of the operating system, such as ` (os error 2)`, which say no more than the words.
#[must_use]
pub fn without_os_codes(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| shown + part.split_once(')').map_or(part, |(_code, rest)| rest))
}

impl Error {
    /// Returns the error of a single invalid field.
    pub fn invalid(field: &'static str, code: Code, message: impl Into<String>) -> Self {
        FieldError::new(field, code, message).into()
    }
}

/// A single invalid field.
impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

impl FromStore for Error {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::secret::NoRandomness> for Error {
    fn from(error: crate::secret::NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::without_os_codes;

    #[test]
    fn the_words_of_an_error_stay() {
        let two = format!("a: {}; b: {}.", std::io::Error::from_raw_os_error(2), std::io::Error::from_raw_os_error(13));
        assert_eq!(without_os_codes(&two), "a: No such file or directory; b: Permission denied.");
        assert_eq!(without_os_codes("no code"), "no code");
    }
}
