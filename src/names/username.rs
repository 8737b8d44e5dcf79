//! Usernames.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::validated_text;
use crate::validation::{Code, FieldError};

/// A username: 1 to 64 characters of `[A-Za-z0-9._@+-]`, unique and case-insensitive.
///
/// Never a UUID, so that it cannot be confused with a user id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "maria")]
pub struct Username(String);

validated_text!(Username);

impl Username {
    /// Returns whether this is an email address, which must then be the user's own.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.0.contains('@')
    }
}

impl FromStr for Username {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let problem = |code, message: &str| Err(FieldError::new("username", code, message));
        if text.is_empty() {
            return problem(Code::Required, "is required");
        }
        if text.len() > 64 {
            return problem(Code::Length, "must have at most 64 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b)) {
            return problem(Code::Format, "must consist of ASCII letters, digits and . _ @ + -");
        }
        if uuid::Uuid::try_parse(text).is_ok() {
            return problem(Code::Format, "must not be a UUID: those are ids of users");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Username;

    proptest! {
        #[test]
        fn names_are_plain(text in ".{0,70}") {
            let plain = !text.is_empty() && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
            prop_assert_eq!(text.parse::<Username>().is_ok(), plain && uuid::Uuid::try_parse(&text).is_err());
        }
    }

    #[test]
    fn a_uuid_is_no_name() {
        assert!("0199b3a0-0000-7000-8000-000000000001".parse::<Username>().is_err());
        assert!("0199b3a0000070008000000000000001".parse::<Username>().is_err());
        assert!("maria.b+shop@example.com".parse::<Username>().unwrap().is_address());
    }
}
