//! Texts for people, and audiences.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::validated_text;
use crate::validation::{Code, FieldError};

/// What a user is called: 1 to 200 characters of any Unicode but U+0000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

/// What a client is called: 1 to 200 characters of any Unicode but U+0000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientName(String);

/// The description of a scope or role: at most 500 characters of any Unicode but U+0000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

/// An audience of access tokens (`aud`): a URI or a name of 1 to 500 printable ASCII characters without space, quote and
/// backslash, so that a list of them can be space-delimited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Audience(String);

validated_text!(DisplayName);
validated_text!(ClientName);
validated_text!(Description);
validated_text!(Audience);

impl AsRef<str> for Audience {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Description {
    /// Returns a description that is known to be valid when the server is built.
    pub(crate) fn of_built_in(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for DisplayName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        one_to_200("display_name", text).map(Self)
    }
}

impl FromStr for ClientName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        one_to_200("name", text).map(Self)
    }
}

fn one_to_200(field: &'static str, text: &str) -> Result<String, FieldError> {
    if text.contains('\0') {
        return Err(FieldError::new(field, Code::Format, "must not have U+0000"));
    }
    if !(1..=200).contains(&text.chars().count()) {
        return Err(FieldError::new(field, Code::Length, "must have 1 to 200 characters"));
    }
    Ok(text.to_owned())
}

impl FromStr for Description {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.contains('\0') {
            return Err(FieldError::new("description", Code::Format, "must not have U+0000"));
        }
        if text.chars().count() > 500 {
            return Err(FieldError::new("description", Code::Length, "may have at most 500 characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Audience {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() || text.len() > 500 {
            return Err(FieldError::new("audiences", Code::Length, "an audience has 1 to 500 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            return Err(FieldError::new("audiences", Code::Format, "an audience is a URI or a name, without spaces"));
        }
        Ok(Self(text.to_owned()))
    }
}
