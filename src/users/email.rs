//! E-mail addresses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use validator::ValidateEmail;

use crate::error::{Code, FieldError};

/// An e-mail address of ASCII, as browsers check it (HTML's `input type=email`), unique without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = "email", example = "maria@example.com")]
pub struct Email(String);

impl Email {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.len() > 254 {
            return Err(FieldError::new("email", Code::Length, "may have at most 254 characters"));
        }
        if text.is_ascii() && text.validate_email() {
            Ok(Self(text.to_owned()))
        } else {
            Err(FieldError::new("email", Code::Email, "must be an e-mail address"))
        }
    }
}

impl TryFrom<String> for Email {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Self, FieldError> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
