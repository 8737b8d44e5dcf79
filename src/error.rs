//! The errors of what grantd does. They know no HTTP: `http/problem.rs` and `oauth/error.rs` translate them.

use crate::store::StoreError;

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
    /// Who asks for it lacks these scopes, which it would give or change.
    #[error("it takes the scopes {0}")]
    Lacking(grantd_guard::Scopes),
    /// A rule forbids it; says which.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The queue of passwords to hash is full, or the wait in it was too long.
    #[error("too many passwords are being checked")]
    HashQueueFull,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Its name, as in the body or query.
    pub field: String,
    /// What is wrong, for programs.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for FieldError {}

impl FieldError {
    /// Says what is wrong with a field.
    pub fn new(field: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// It is missing.
    Required,
    /// Too long or too short.
    Length,
    /// Not of the form that it must have.
    Format,
    /// No e-mail address.
    Email,
    /// It names what does not exist.
    Unknown,
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

impl From<grantd_guard::InvalidScope> for FieldError {
    fn from(error: grantd_guard::InvalidScope) -> Self {
        Self::new("scopes", Code::Format, error.to_string())
    }
}

impl From<crate::secret::NoRandomness> for Error {
    fn from(error: crate::secret::NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}
