//! Client ids.

use std::{borrow::Cow, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{is_plain_name, validated_text};
use crate::{
    secret::{self, NoRandomness},
    validation::{Code, FieldError},
};

/// The id of a client: `[a-z][a-z0-9-]{1,62}`. Never a UUID, so that it cannot equal the `sub` of a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "back-office")]
pub struct ClientId(Cow<'static, str>);

impl ClientId {
    /// Returns the id of the client for requests that name none: public, created at the first start.
    #[must_use]
    pub fn default_client() -> Self {
        Self(Cow::Borrowed("default"))
    }

    /// Returns a random id.
    pub(crate) fn random() -> Result<Self, NoRandomness> {
        Ok(Self(Cow::Owned(format!("client-{:016x}", u64::from_ne_bytes(secret::random()?)))))
    }
}

validated_text!(ClientId);

impl FromStr for ClientId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if !is_plain_name(text, 2..=63) {
            let message = "must have 2 to 63 characters of a-z, 0-9 and -, and begin with a letter";
            return Err(FieldError::new("client_id", Code::Format, message));
        }
        if uuid::Uuid::try_parse(text).is_ok() {
            return Err(FieldError::new("client_id", Code::Format, "must not be a UUID"));
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}
