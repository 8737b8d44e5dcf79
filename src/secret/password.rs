//! Passwords of users.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization as _;

use crate::validation::{Code, FieldError};

/// The maximum length of a password, in bytes of UTF-8.
const MAX_BYTES: usize = 1024;

/// A password of a user: 1 to 1,024 bytes of UTF-8 without U+0000, never trimmed, in NFC and as it was sent.
#[derive(Clone, Debug)]
pub struct Password {
    nfc: SecretString,
    /// `None`: it was sent in NFC.
    sent: Option<SecretString>,
}

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
        let nfc: String = text.nfc().collect();
        let sent = (nfc != text).then(|| text.into());
        Ok(Self { nfc: nfc.into(), sent })
    }

    /// Returns the text, in NFC.
    pub(crate) fn as_str(&self) -> &str {
        self.nfc.expose_secret()
    }

    /// Returns the bytes to hash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    /// Returns the bytes as they were sent, if those in NFC are others. Hashes of other systems may have been made of them.
    pub(crate) fn as_sent(&self) -> Option<&[u8]> {
        self.sent.as_ref().map(|sent| sent.expose_secret().as_bytes())
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

    #[test]
    fn bytes_that_are_not_in_nfc_are_kept_as_they_were_sent() {
        let composed = Password::presented("password", "caf\u{e9}").unwrap();
        assert_eq!((composed.as_bytes(), composed.as_sent()), ("caf\u{e9}".as_bytes(), None));
        let decomposed = Password::presented("password", "cafe\u{301}").unwrap();
        assert_eq!(decomposed.as_bytes(), "caf\u{e9}".as_bytes());
        assert_eq!(decomposed.as_sent(), Some("cafe\u{301}".as_bytes()));
    }
}
