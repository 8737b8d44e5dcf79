//! Pages of the issuer's feed of revocations: the request, and the parser for the response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use form_urlencoded::byte_serialize;
use reqwest::{Response, Url, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::http::{FetchError, json};
use crate::{Revocation, RevocationKind};

/// The maximum number of items of a page.
pub(super) const LIMIT: usize = 200;
/// The timeout of a poll, in addition to the time that the issuer may wait.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The response header whose value changes with the issuer's keys.
const KEYS: &str = "Grantd-Keys";

/// The name and secret of a confidential client.
#[derive(Clone)]
pub(crate) struct Credentials {
    id: String,
    secret: SecretString,
}

impl Credentials {
    pub(super) fn new(id: String, secret: String) -> Self {
        Self { id, secret: secret.into() }
    }

    /// Returns id and secret in the encoding that HTTP Basic requires (RFC 6749 §2.3.1).
    pub(super) fn encoded(&self) -> (String, String) {
        let encode = |text: &str| byte_serialize(text.as_bytes()).collect();
        (encode(&self.id), encode(self.secret.expose_secret()))
    }
}

/// The parameters of a poll.
pub(super) struct Poll<'a> {
    pub(super) credentials: &'a Credentials,
    /// The cursor of the previous page; `None`: from the oldest revocation.
    pub(super) after: Option<&'a str>,
    /// For how many seconds the issuer may wait for a new revocation (long polling).
    pub(super) wait: u16,
}

impl Poll<'_> {
    pub(super) fn url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("wait", &self.wait.to_string()).append_pair("limit", &LIMIT.to_string());
            if let Some(after) = self.after {
                query.append_pair("after", after);
            }
        }
        url
    }

    pub(super) fn timeout(&self) -> Duration {
        TIMEOUT + Duration::from_secs(self.wait.into())
    }
}

/// A page of the feed.
pub(super) struct Page {
    pub(super) items: Vec<Revocation>,
    /// Whether there may be more items.
    pub(super) is_full: bool,
    /// The cursor of the next page.
    pub(super) next: String,
    /// The version of the issuer's keys, an opaque text.
    pub(super) keys: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Document {
    items: Vec<Value>,
    next: String,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    /// Rounded down, as `iat` is. Rounded up, it would revoke tokens that were issued after the revocation.
    #[serde(deserialize_with = "floor")]
    revoked_at: i64,
    /// Rounded up: the revocation must not expire before its tokens.
    #[serde(deserialize_with = "ceil")]
    expires_at: i64,
}

impl Page {
    pub(super) async fn of(response: Response) -> Result<Self, FetchError> {
        let url = response.url().to_string();
        let keys = response.headers().get(KEYS).cloned();
        let Document { items, next } = json(response).await?;
        // Counted before unknown kinds are skipped: a page with one of them is full all the same.
        let is_full = items.len() >= LIMIT;
        let items: Result<_, _> = items.into_iter().filter_map(|item| revocation(item).transpose()).collect();
        let items = items.map_err(|error| FetchError::Malformed { url, error })?;
        Ok(Self { items, is_full, next, keys })
    }
}

/// Parses an item. `None`: a kind that this version does not know, from a newer issuer.
fn revocation(item: Value) -> Result<Option<Revocation>, serde_json::Error> {
    let kind = item.get("kind").and_then(Value::as_str).ok_or_else(|| de::Error::missing_field("kind"))?;
    let Some(kind) = RevocationKind::parse(kind) else { return Ok(None) };
    let Item { id, revoked_at, expires_at } = serde_json::from_value(item)?;
    Ok(Some(Revocation { kind, id, revoked_at, expires_at }))
}

fn floor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(seconds(time(deserializer)?.as_secs()))
}

fn ceil<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let time = time(deserializer)?;
    Ok(seconds(time.as_secs() + u64::from(time.subsec_nanos() > 0)))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time: SystemTime = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
    time.duration_since(UNIX_EPOCH).map_err(de::Error::custom)
}

fn seconds(since_1970: u64) -> i64 {
    i64::try_from(since_1970).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_rounded_so_that_nothing_revoked_gets_through() {
        let item = |revoked_at: &str, expires_at: &str| {
            revocation(json!({"kind": "user", "id": "u1", "revoked_at": revoked_at, "expires_at": expires_at}))
        };
        let of = |revoked_at, expires_at| {
            let read = item(revoked_at, expires_at).unwrap().unwrap();
            assert_eq!((read.kind, &*read.id), (RevocationKind::User, "u1"));
            (read.revoked_at, read.expires_at)
        };
        assert_eq!(of("2027-01-15T08:00:00Z", "2027-01-15T08:15:00Z"), (1_800_000_000, 1_800_000_900));
        assert_eq!(of("2027-01-15T08:00:00.999999Z", "2027-01-15T08:15:00.000001Z"), (1_800_000_000, 1_800_000_901));
        for wrong in ["", "1800000000", "2027-01-15", "2027-13-15T08:00:00Z"] {
            assert!(item(wrong, "2027-01-15T08:15:00Z").is_err(), "{wrong}");
            assert!(item("2027-01-15T08:00:00Z", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_is_skipped_and_what_is_broken_is_not() {
        assert_eq!(revocation(json!({"kind": "planet", "name": "Pluto"})).unwrap(), None);
        for broken in [json!({}), json!(7), json!({"kind": 7}), json!({"kind": "session"})] {
            assert!(revocation(broken.clone()).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_query_is_added_to_that_of_the_endpoint() {
        let endpoint = Url::parse("https://id.example/revocations?tenant=a").unwrap();
        let credentials = Credentials::new("c".to_owned(), "s".to_owned());
        let poll = Poll { credentials: &credentials, after: Some("a&b"), wait: 20 };
        assert_eq!(poll.url(&endpoint).query(), Some("tenant=a&wait=20&limit=200&after=a%26b"));
        assert_eq!(poll.timeout(), Duration::from_secs(30));
    }
}
