//! What is wrong with a field of a body, a form, a query or a file.

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

impl From<grantd_guard::InvalidScope> for FieldError {
    fn from(error: grantd_guard::InvalidScope) -> Self {
        Self::new("scopes", Code::Format, error.to_string())
    }
}
