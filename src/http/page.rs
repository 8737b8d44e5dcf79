//! Lists, page by page.

use actix_web::HttpRequest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{body::Members, query::Query};
use crate::error::{Code, Error, FieldError};

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// What `cursor` is for the next page; null: this is the last.
    #[schema(example = "bWFyaWE")]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Of a list that has no other.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The parameters of [`Asked`], for the description of this server.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the query is read parameter by parameter")]
pub(crate) struct Paging {
    /// How many at most; 50 when absent
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before
    cursor: Option<String>,
}

/// Which page is asked for.
pub(crate) struct Asked<K> {
    limit: i64,
    /// The key that the page before ended with; none: this is the first.
    pub(crate) after: Option<K>,
}

impl<K> Asked<K> {
    /// Of a list that has no other parameters. `parse`: the key that the bytes of a cursor are.
    pub(crate) fn alone(req: &HttpRequest, parse: impl Fn(&[u8]) -> Option<K>) -> Result<Self, Error> {
        let mut members = Members::default();
        let asked = Self::of(&Query::of(req)?, &mut members, parse);
        members.finish(Some(asked))
    }

    /// Of one that has.
    pub(crate) fn of(query: &Query, members: &mut Members, parse: impl Fn(&[u8]) -> Option<K>) -> Self {
        let limit = members.optional(Some(query.number("limit", 50, 1..=200))).unwrap_or_default();
        let unknown = || FieldError::new("cursor", Code::Format, "is no cursor of this list");
        let key = |cursor: &str| decode(cursor).and_then(|key| parse(&key)).ok_or_else(unknown);
        Self { limit, after: members.parameter(query, "cursor", key) }
    }

    /// As many items as are to be read: one more than the page has says whether there is another.
    pub(crate) fn to_read(&self) -> i64 {
        self.limit + 1
    }

    /// The page, of what was read; `key`: of an item.
    pub(crate) fn page<T, B: AsRef<[u8]>>(&self, mut read: Vec<T>, key: impl Fn(&T) -> B) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let is_last = read.len() <= limit;
        read.truncate(limit);
        let last = read.last().filter(|_| !is_last);
        Page { next_cursor: last.map(|item| BASE64_URL_SAFE_NO_PAD.encode(key(item))), items: read }
    }
}

fn decode(cursor: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().filter(|key| !key.is_empty())
}

/// A key that is a text.
pub(crate) fn text(key: &[u8]) -> Option<String> {
    str::from_utf8(key).ok().filter(|text| !text.contains('\0')).map(str::to_owned)
}

/// A key that is an id.
pub(crate) fn id<I: From<[u8; 16]>>(key: &[u8]) -> Option<I> {
    <[u8; 16]>::try_from(key).ok().map(I::from)
}
