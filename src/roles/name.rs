//! Names of roles.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Code, FieldError};

/// The name of a role: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "member")]
pub struct RoleName(Cow<'static, str>);

impl RoleName {
    /// What every user has.
    #[must_use]
    pub fn member() -> Self {
        Self(Cow::Borrowed("member"))
    }

    /// Every scope that there is.
    #[must_use]
    pub fn admin() -> Self {
        Self(Cow::Borrowed("admin"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is `[a-z][a-z0-9-]*` and has so many characters.
pub(crate) fn is_plain_name(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl FromStr for RoleName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if is_plain_name(text, 1..=63) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            let message = "a role's name has 1 to 63 of a-z, 0-9 and -, and begins with a letter";
            Err(FieldError::new("roles", Code::Format, message))
        }
    }
}

impl TryFrom<String> for RoleName {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Self, FieldError> {
        text.parse()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
