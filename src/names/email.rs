//! E-mail addresses.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use validator::ValidateEmail;

use super::validated_text;
use crate::validation::{Code, FieldError};

/// An ASCII email address, with the syntax of HTML's `<input type=email>`. Unique and case-insensitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = "email", example = "maria@example.com")]
pub struct Email(String);

validated_text!(Email);

impl FromStr for Email {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.len() > 254 {
            return Err(FieldError::new("email", Code::Length, "must have at most 254 characters"));
        }
        if text.is_ascii() && text.validate_email() {
            Ok(Self(text.to_owned()))
        } else {
            Err(FieldError::new("email", Code::Email, "must be an email address such as maria@example.com"))
        }
    }
}
