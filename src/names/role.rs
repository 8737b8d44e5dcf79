//! Role names.

use std::{borrow::Cow, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{is_plain_name, validated_text};
use crate::validation::{Code, FieldError};

/// The name of a role: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "member")]
pub struct RoleName(Cow<'static, str>);

impl RoleName {
    /// Returns the role that every user has.
    #[must_use]
    pub fn member() -> Self {
        Self(Cow::Borrowed("member"))
    }

    /// Returns the role that has every scope.
    #[must_use]
    pub fn admin() -> Self {
        Self(Cow::Borrowed("admin"))
    }
}

validated_text!(RoleName);

impl FromStr for RoleName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if is_plain_name(text, 1..=63) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            let message = "a role name must have 1 to 63 characters of a-z, 0-9 and -, and begin with a letter";
            Err(FieldError::new("roles", Code::Format, message))
        }
    }
}
