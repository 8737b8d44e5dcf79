//! Device tokens (OWASP: "Slow Down Online Guessing Attacks with Device Cookies"). A device from which a user logged in has
//! a budget of its own, so that guessers elsewhere do not lock the user out. The token is no credential.
//!
//! The format: `grd_`, then in base64url the version (1 byte), the user's id (16), the nonce of the device (16), the time of
//! issue in microseconds (8, big endian) and the MAC (32): HMAC-SHA-256 over the bytes before it.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    ids::UserId,
    secret::{self, NoRandomness},
};

const PREFIX: &str = "grd_";
const VERSION: u8 = 1;
const CLAIM_LEN: usize = 1 + 16 + 16 + 8;
/// How long a token is valid.
const LIFETIME: TimeDelta = TimeDelta::days(180);

/// A device from which a user logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub(super) nonce: [u8; 16],
}

impl Device {
    pub(super) fn new() -> Result<Self, NoRandomness> {
        Ok(Self::with_nonce(secret::random()?))
    }

    /// Returns the device with this nonce.
    #[must_use]
    pub fn with_nonce(nonce: [u8; 16]) -> Self {
        Self { nonce }
    }
}

/// Issues and verifies device tokens.
pub(super) struct DeviceTokens(hmac::Key);

impl DeviceTokens {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Issues a token for a device of a user.
    pub(super) fn issue(&self, user: UserId, device: &Device, now: DateTime<Utc>) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(user.as_bytes());
        bytes.extend(device.nonce);
        bytes.extend(now.timestamp_micros().to_be_bytes());
        let mac = hmac::sign(&self.0, &bytes);
        bytes.extend(mac.as_ref());
        format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns the device of a token, if it is a valid one of this user. `since`: those that were issued before it are
    /// invalid.
    pub(super) fn verify(
        &self,
        token: &str,
        user: UserId,
        since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Device> {
        let claim = self.claim(token)?;
        let [VERSION, claim @ ..] = &claim[..] else { return None };
        let (id, claim) = claim.split_at(16);
        let (nonce, issued_at) = claim.split_at(16);
        let issued_at = DateTime::from_timestamp_micros(i64::from_be_bytes(issued_at.try_into().ok()?))?;
        let is_current = now < issued_at + LIFETIME && since.is_none_or(|since| issued_at > since);
        (id == user.as_bytes() && is_current).then_some(Device { nonce: nonce.try_into().ok()? })
    }

    /// Returns the user to whom a token was issued here, whether or not it is still valid.
    pub(super) fn owner(&self, token: &str) -> Option<UserId> {
        let claim = self.claim(token)?;
        Some(UserId::from(*claim.get(1..)?.first_chunk::<16>()?))
    }

    /// Returns what a token with a right MAC says.
    fn claim(&self, token: &str) -> Option<[u8; CLAIM_LEN]> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
        let (claim, mac) = bytes.split_first_chunk()?;
        hmac::verify(&self.0, claim, mac).ok()?;
        Some(*claim)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_token_is_valid_for_its_user_and_its_time() {
        let (tokens, maria, otto) = (DeviceTokens::new(&[1; 32]), [1; 16].into(), [2; 16].into());
        let device = Device::new().unwrap();
        let token = tokens.issue(maria, &device, at(1000));
        let valid = |user, since: Option<i64>, now| tokens.verify(&token, user, since.map(at), at(now)).is_some();
        assert_eq!(tokens.verify(&token, maria, None, at(1000)), Some(device));
        assert!(valid(maria, Some(999), 1000 + 180 * 86400 - 1));
        assert!(!valid(maria, None, 1000 + 180 * 86400));
        assert!(!valid(maria, Some(1000), 1001));
        assert!(!valid(otto, None, 1001));
        assert_eq!((tokens.owner(&token), tokens.owner("grd_")), (Some(maria), None));
        assert!(DeviceTokens::new(&[2; 32]).verify(&token, maria, None, at(1001)).is_none());
    }

    proptest! {
        #[test]
        fn no_text_is_a_token(text in "(grd_)?\\PC{0,120}") {
            prop_assert!(DeviceTokens::new(&[1; 32]).verify(&text, [1; 16].into(), None, at(0)).is_none());
        }

        #[test]
        fn one_changed_character_is_noticed(at_index in 0_usize..102, with in "[A-Za-z0-9_-]") {
            let tokens = DeviceTokens::new(&[1; 32]);
            let token = tokens.issue([1; 16].into(), &Device { nonce: [3; 16] }, at(0));
            prop_assert_eq!(token.len(), 102);
            let changed = format!("{}{with}{}", &token[..at_index], &token[at_index + 1..]);
            prop_assert!(changed == token || tokens.verify(&changed, [1; 16].into(), None, at(0)).is_none());
        }
    }
}
