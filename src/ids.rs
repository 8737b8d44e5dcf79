//! Ids: `UUIDv7` (RFC 9562 §5.7), from the caller's time and random bits.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::{Builder, NoContext, Timestamp, Uuid};

/// Returns a `UUIDv7` that sorts by time within a millisecond, too: the first 12 random bits hold the fraction (RFC 9562 §6.2,
/// method 3).
fn uuid_at(now: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    let nanos = now.timestamp_subsec_nanos();
    let mut bytes = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos)).into_bytes();
    let fraction = (u64::from(nanos % 1_000_000) * 4096 / 1_000_000).to_be_bytes();
    bytes[6] = 0x70 | fraction[6];
    bytes[7] = fraction[7];
    Uuid::from_bytes(bytes)
}

/// Returns the lowest `UUIDv7` of a millisecond.
fn first_uuid_of(time: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Returns a new id, created at this time.
            #[must_use]
            pub fn new(now: DateTime<Utc>) -> Self {
                Self(uuid_at(now))
            }

            /// Returns the lowest id of a millisecond: no id that is created then or later sorts before it.
            #[must_use]
            pub fn first_of(time: DateTime<Utc>) -> Self {
                Self(first_uuid_of(time))
            }

            /// Returns the time of the id, in whole milliseconds.
            #[must_use]
            pub fn time(&self) -> DateTime<Utc> {
                let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX);
                DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
            }

            /// Returns the 16 bytes of the id.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Parses the text form, exactly as [`Display`](fmt::Display) writes it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::try_parse(text).ok().map(Self).filter(|id| id.to_string() == text)
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A user's id; the `sub` of the user's tokens.
    UserId
);
id!(
    /// A session's id; the `sid` of its tokens.
    SessionId
);
id!(
    /// An audit event's id.
    EventId
);
id!(
    /// The id of a request whose caller sent none.
    RequestId
);
id!(
    /// An API key's id; the `sid` of the access tokens that are issued for it.
    ApiKeyId
);
id!(
    /// The `jti` of an access token.
    TokenId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_time_comes_before_all_later_ones_and_after_all_earlier_ones() {
        let time = DateTime::from_timestamp_micros(1_769_860_800_123_456).unwrap();
        let first = EventId::first_of(time);
        assert_eq!(first.to_string(), "019c13ec-9e7b-7000-8000-000000000000");
        assert_eq!(first.time().timestamp_millis(), 1_769_860_800_123);
        for _ in 0..100 {
            assert!(EventId::new(time) >= first);
            assert!(EventId::new(time - chrono::Duration::milliseconds(1)) < first);
        }
        assert_eq!(EventId::first_of(DateTime::<Utc>::MIN_UTC), EventId::first_of(DateTime::UNIX_EPOCH));
    }
}
