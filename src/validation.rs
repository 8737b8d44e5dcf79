//! Validation errors of fields in bodies, forms, queries and files.

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Name of the field in the body or query.
    pub field: String,
    /// Machine-readable code of the error.
    pub code: Code,
    /// Human-readable description of the error.
    pub message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for FieldError {}

impl FieldError {
    /// Creates the error of a field.
    pub fn new(field: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }

    /// Returns the error with another field name.
    #[must_use]
    pub fn of_field(self, field: impl Into<String>) -> Self {
        Self { field: field.into(), ..self }
    }
}

/// The code of a validation error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// The field is missing.
    Required,
    /// Too long or too short.
    Length,
    /// Wrong type or format.
    Format,
    /// Not an email address.
    Email,
    /// Refers to something that does not exist.
    Unknown,
    /// A password that is a name or address of the user, or the host of the server.
    Personal,
    /// A password that many people use, or that is in the blocklist.
    Common,
    /// A password that is easy to guess.
    Weak,
}

impl From<grantd_guard::InvalidScope> for FieldError {
    fn from(error: grantd_guard::InvalidScope) -> Self {
        Self::new("scopes", Code::Format, error.to_string())
    }
}

/// Defines an enum whose variants have names: in JSON, in the database, in forms and on the command line.
///
/// Names are matched as `tt`: `utoipa` does not read a `literal` that came through a macro.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident in $field:literal { $($(#[$doc:meta])* $variant:ident = $text:tt,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::validation::FieldError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let names = || Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
                let unknown = || {
                    let message = format!("must be one of {}", names());
                    $crate::validation::FieldError::new($field, $crate::validation::Code::Unknown, message)
                };
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(unknown)
            }
        }
    };
}
pub(crate) use named_enum;
