//! The errors of features. They know no HTTP: `http/problem.rs` and `oauth/error.rs` translate them.

use crate::store::{FromStore, StoreError};
pub use crate::validation::{Code, FieldError};

/// Why something was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Input that cannot be: every field that is wrong.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// Another one has this value already.
    #[error("{field} is taken")]
    Taken {
        /// The field whose value is taken.
        field: &'static str,
    },
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// A user, a role, …
        what: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// The caller lacks these scopes, which the change would grant, remove or make usable.
    #[error("the scopes {0} are missing")]
    MissingScopes(grantd_guard::Scopes),
    /// A rule forbids it; says which.
    #[error("{0}")]
    RuleViolation(&'static str),
    /// The queue of passwords to hash is full, or the wait in it was too long.
    #[error("too many passwords are being checked")]
    HashQueueFull,
    /// The signing keys are sealed under a master key that this server does not have.
    #[error("the signing keys cannot be unsealed with this server's master key")]
    NoSigningKey,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

fn list(fields: &[FieldError]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// A single field that is wrong.
    pub fn invalid(field: &'static str, code: Code, message: impl Into<String>) -> Self {
        FieldError::new(field, code, message).into()
    }
}

/// The one thing that is wrong.
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
