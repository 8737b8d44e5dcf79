//! Texts for people, and audiences.

use std::{ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};

use super::validated_text;
use crate::validation::{Code, FieldError};

/// Defines a text with a range of lengths, of any Unicode characters but U+0000.
macro_rules! text_for_people {
    ($(#[$doc:meta])* $name:ident in $field:literal, $lengths:expr, $message:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        validated_text!($name);

        impl FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                let lengths: RangeInclusive<usize> = $lengths;
                if text.contains('\0') {
                    return Err(FieldError::new($field, Code::Format, "must not contain U+0000"));
                }
                if !lengths.contains(&text.chars().count()) {
                    return Err(FieldError::new($field, Code::Length, $message));
                }
                Ok(Self(text.to_owned()))
            }
        }
    };
}

text_for_people! {
    /// The display name of a user: 1 to 200 characters of any Unicode but U+0000.
    DisplayName in "display_name", 1..=200, "must have 1 to 200 characters"
}

text_for_people! {
    /// The display name of a client: 1 to 200 characters of any Unicode but U+0000.
    ClientName in "name", 1..=200, "must have 1 to 200 characters"
}

text_for_people! {
    /// The name of an API key: 1 to 100 characters of any Unicode but U+0000.
    ApiKeyName in "name", 1..=100, "must have 1 to 100 characters"
}

text_for_people! {
    /// The description of a scope or role: at most 500 characters of any Unicode but U+0000.
    Description in "description", 0..=500, "must have at most 500 characters"
}

/// An audience of access tokens (`aud`): a URI or a name of 1 to 500 printable ASCII characters without space, quote and
/// backslash, so that a list of them can be space-delimited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Audience(String);

validated_text!(Audience);

impl Audience {
    /// Returns a space-delimited list.
    pub(crate) fn join(audiences: &[Self]) -> String {
        audiences.iter().map(Self::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl AsRef<str> for Audience {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() || text.len() > 500 {
            return Err(FieldError::new("audiences", Code::Length, "an audience must have 1 to 500 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            return Err(FieldError::new(
                "audiences",
                Code::Format,
                "an audience must be a URI or name of ASCII characters without spaces, quotes and backslashes",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}
