//! Passwords of users.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization as _;

use crate::validation::{Code, FieldError};

/// The maximum length of a password, in bytes of UTF-8.
const MAX_BYTES: usize = 1024;

/// A password of a user: 1 to 1,024 bytes of UTF-8 without U+0000, in NFC, never trimmed.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// Accepts a password that is presented for verification. New ones have rules: `Passwords::new_password`.
    pub fn presented(field: &'static str, text: &str) -> Result<Self, FieldError> {
        if text.is_empty() {
            return Err(FieldError::new(field, Code::Required, "is required"));
        }
        // Before NFC and hashing, whose time grows with the length.
        if text.len() > MAX_BYTES {
            return Err(FieldError::new(field, Code::Length, "must have at most 1,024 bytes"));
        }
        if text.contains('\0') {
            return Err(FieldError::new(field, Code::Format, "must not contain U+0000"));
        }
        // NFC: the same characters have several encodings, and keyboards differ in which one they send.
        Ok(Self(text.nfc().collect::<String>().into()))
    }

    /// Returns the text, in NFC.
    pub(crate) fn as_str(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the bytes to hash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_of_bytes() {
        assert!(Password::presented("password", &"a".repeat(1024)).is_ok());
        assert_eq!(Password::presented("password", &"a".repeat(1025)).unwrap_err().code, Code::Length);
        assert_eq!(Password::presented("password", "a\0b").unwrap_err().code, Code::Format);
        assert_eq!(Password::presented("password", "").unwrap_err().code, Code::Required);
    }
}
