//! Names and other short texts that people choose. A value of one of these types is valid, so nothing checks it again.

mod client;
mod email;
mod role;
mod text;
mod username;

pub use self::{
    client::ClientId,
    email::Email,
    role::RoleName,
    text::{ApiKeyName, Audience, ClientName, Description, DisplayName},
    username::Username,
};

/// Returns whether a text matches `[a-z][a-z0-9-]*` and its length is in the range.
fn is_plain_name(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Implements the conversions of a validated text, and `Display`.
macro_rules! validated_text {
    ($name:ident) => {
        impl $name {
            /// Returns the text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::validation::FieldError;

            fn try_from(text: String) -> Result<Self, $crate::validation::FieldError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.into()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
use validated_text;
