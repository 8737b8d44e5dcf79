//! Lists, page by page.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use super::query::Query;
use crate::error::{Code, FieldError};

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// What `cursor` is for the next page; null: this is the last.
    #[schema(example = "bWFyaWE")]
    next_cursor: Option<String>,
}

/// Which page is asked for.
pub(crate) struct Asked {
    limit: i64,
    /// What the page before ended with.
    after: Option<Vec<u8>>,
}

impl Asked {
    /// Of the parameters `limit` and `cursor`; all that is wrong with them.
    pub(crate) fn of(query: &Query) -> Result<Self, Vec<FieldError>> {
        let limit = query.number("limit", 50, 1..=200);
        let after = query.one("cursor").and_then(|cursor| cursor.map(decode).transpose());
        match (limit, after) {
            (Ok(limit), Ok(after)) => Ok(Self { limit, after }),
            (limit, after) => Err([limit.err(), after.err()].into_iter().flatten().collect()),
        }
    }

    /// As many items as are to be read: one more than the page has says whether there is another.
    pub(crate) fn to_read(&self) -> i64 {
        self.limit + 1
    }

    /// The key that the page before ended with, as its type has it.
    pub(crate) fn after<K>(&self, parse: impl Fn(&[u8]) -> Option<K>) -> Result<Option<K>, FieldError> {
        self.after.as_deref().map(|key| parse(key).ok_or_else(unknown_cursor)).transpose()
    }

    /// The same, of a text.
    pub(crate) fn after_text(&self) -> Result<Option<&str>, FieldError> {
        let text = self.after.as_deref().map(str::from_utf8).transpose().map_err(|_| unknown_cursor())?;
        if text.is_some_and(|text| text.contains('\0')) { Err(unknown_cursor()) } else { Ok(text) }
    }

    /// The page, of what was read; `key`: of an item.
    pub(crate) fn page<T, K: AsRef<[u8]>>(&self, mut read: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let is_last = read.len() <= limit;
        read.truncate(limit);
        let last = read.last().filter(|_| !is_last);
        Page { next_cursor: last.map(|item| BASE64_URL_SAFE_NO_PAD.encode(key(item))), items: read }
    }
}

fn unknown_cursor() -> FieldError {
    FieldError::new("cursor", Code::Format, "is no cursor of this list")
}

fn decode(cursor: &str) -> Result<Vec<u8>, FieldError> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().filter(|key| !key.is_empty());
    key.ok_or_else(unknown_cursor)
}
