//! Refresh tokens: the id and counter of a session, with a MAC. They are not stored.
//!
//! The format: `grt_`, then in base64url the version (1 byte), the session's id (16), the counter (8, big endian) and the
//! MAC (32), then a checksum. The MAC is HMAC-SHA-256 over the bytes before it and the session's secret. Its key is
//! stored sealed under the master key. Neither a leaked table nor a leaked key is enough to forge tokens.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::{ids::SessionId, secret};

/// The prefix that secret scanners search for. It must never change.
pub(crate) const PREFIX: &str = "grt_";
/// The version of the format. A new format gets a new number.
const VERSION: u8 = 1;
const CLAIM_LEN: usize = 1 + 16 + 8;
const MAC_LEN: usize = 32;

/// Creates and verifies refresh tokens.
#[derive(Debug)]
pub struct RefreshTokens(hmac::Key);

/// The contents of a refresh token, which are not trusted until [`RefreshTokens::verify`] returns `true`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshClaim {
    /// The session of the token.
    pub session: SessionId,
    /// The session's number of rotations when the token was issued.
    pub counter: u64,
    mac: [u8; MAC_LEN],
}

impl RefreshTokens {
    /// Creates and verifies tokens with this MAC key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the token of a session for a counter. The same arguments give the same token, so a retry gets the current
    /// token again although it is not stored.
    #[must_use]
    pub fn make(&self, session: &SessionId, counter: u64, secret: &[u8; 32]) -> SecretString {
        let mut bytes = claim(session, counter).to_vec();
        let mac = hmac::sign(&self.0, &[bytes.as_slice(), secret].concat());
        bytes.extend(mac.as_ref());
        let body = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let checksum = secret::checksum(&body);
        (body + &checksum).into()
    }

    /// Returns whether the token was issued for the session with this secret. Compares in constant time.
    #[must_use]
    pub fn verify(&self, token: &RefreshClaim, secret: &[u8; 32]) -> bool {
        let message = [claim(&token.session, token.counter).as_slice(), secret].concat();
        hmac::verify(&self.0, &message, &token.mac).is_ok()
    }
}

fn claim(session: &SessionId, counter: u64) -> [u8; CLAIM_LEN] {
    let mut claim = [VERSION; CLAIM_LEN];
    claim[1..17].copy_from_slice(session.as_bytes());
    claim[17..].copy_from_slice(&counter.to_be_bytes());
    claim
}

impl RefreshClaim {
    /// Parses a token. `None`: a typo, or no refresh token.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        // The checksum rejects typos and random text before the database is read.
        let body = secret::without_checksum(token.starts_with(PREFIX).then_some(token)?)?.strip_prefix(PREFIX)?;
        let bytes: [u8; CLAIM_LEN + MAC_LEN] = BASE64_URL_SAFE_NO_PAD.decode(body).ok()?.try_into().ok()?;
        let (claim, mac) = bytes.split_at(CLAIM_LEN);
        let ([VERSION, session @ ..], counter) = claim.split_at(17) else { return None };
        let session: [u8; 16] = session.try_into().ok()?;
        Some(Self {
            session: session.into(),
            counter: u64::from_be_bytes(counter.try_into().ok()?),
            mac: mac.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    proptest! {
        #[test]
        fn what_is_made_parses_and_counts_for_its_session_alone(id: [u8; 16], counter: u64, secret: [u8; 32], other: [u8; 32]) {
            let tokens = RefreshTokens::new(&secret::random().unwrap());
            let token = tokens.make(&id.into(), counter, &secret);
            let claim = RefreshClaim::parse(token.expose_secret()).unwrap();
            prop_assert!(claim.session == id.into() && claim.counter == counter);
            prop_assert!(tokens.verify(&claim, &secret));
            prop_assert!(secret == other || !tokens.verify(&claim, &other));
            let later = RefreshClaim { counter: counter.wrapping_add(1), ..claim.clone() };
            prop_assert!(!tokens.verify(&later, &secret));
            prop_assert!(!RefreshTokens::new(&secret::random().unwrap()).verify(&claim, &secret));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            prop_assert!(RefreshClaim::parse(&text).is_none());
            let body = format!("grt_{text}");
            let checked = format!("{body}{}", secret::checksum(&body));
            prop_assert!(RefreshClaim::parse(&checked).is_none());
        }

        #[test]
        fn one_changed_character_is_noticed(at in 0_usize..86, with in "[A-Za-z0-9_-]") {
            let tokens = RefreshTokens::new(&secret::random().unwrap());
            let token = tokens.make(&[7; 16].into(), 3, &[9; 32]);
            let token = token.expose_secret();
            prop_assert_eq!(token.len(), 86);
            let changed = format!("{}{with}{}", &token[..at], &token[at + 1..]);
            prop_assert!(changed == token || RefreshClaim::parse(&changed).is_none());
        }
    }
}
