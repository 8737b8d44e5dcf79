//! Lists, one page at a time.

use actix_web::HttpRequest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{body::Members, query::Query};
use crate::error::{Code, Error, FieldError};

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    #[schema(example = "Am1hcmlh")]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Returns the only page of a list.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The parameters of a [`PageRequest`], for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the query is read parameter by parameter")]
pub(crate) struct Paging {
    /// Maximum number of items, 50 by default
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page of this list, with the same filters
    cursor: Option<String>,
}

/// A list in one of its orders. A cursor begins with this byte, so that no other list accepts it.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum List {
    Users = 1,
    UsersByUsername,
    UsersByEmail,
    Roles,
    Scopes,
    Clients,
    AuditEvents,
    Sessions,
    ApiKeys,
}

impl List {
    /// Returns the cursor that names a key of this list: `[A-Za-z0-9_-]+`.
    pub(crate) fn cursor(self, key: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode([&[self as u8][..], key].concat())
    }

    /// Returns the key that a cursor of this list names.
    pub(crate) fn key<K>(self, cursor: &str, parse: impl Fn(&[u8]) -> Option<K>) -> Option<K> {
        let cursor = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        parse(cursor.strip_prefix(&[self as u8])?)
    }
}

/// The page that a request asks for.
pub(crate) struct PageRequest<K> {
    list: List,
    limit: i64,
    /// The key that the previous page ended with. `None`: the first page.
    pub(crate) after: Option<K>,
}

impl<K> PageRequest<K> {
    /// Reads the query of a list without other parameters. `parse` reads the key of a cursor.
    pub(crate) fn from_request(
        req: &HttpRequest,
        list: List,
        parse: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Self, Error> {
        let mut members = Members::default();
        let request = Self::from_query(&Query::of(req)?, &mut members, list, parse);
        members.finish(Some(request))
    }

    /// Reads the query of a list that has other parameters too.
    pub(crate) fn from_query(
        query: &Query,
        members: &mut Members,
        list: List,
        parse: impl Fn(&[u8]) -> Option<K>,
    ) -> Self {
        let limit = members.optional(Some(query.number("limit", 50, 1..=200))).unwrap_or_default();
        let refused =
            || FieldError::new("cursor", Code::Format, "is not a cursor of this list; omit it for the first page");
        let after = members.parameter(query, "cursor", |cursor| list.key(cursor, &parse).ok_or_else(refused));
        Self { list, limit, after }
    }

    /// Returns how many items to read: one more than the page has, which tells whether there is a next page.
    pub(crate) fn fetch_limit(&self) -> i64 {
        self.limit + 1
    }

    /// Makes the page of the items that were read. `key` returns the key of an item.
    pub(crate) fn page<T, B: AsRef<[u8]>>(&self, mut items: Vec<T>, key: impl Fn(&T) -> B) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let last = items.last().filter(|_| !is_last);
        Page { next_cursor: last.map(|item| self.list.cursor(key(item).as_ref())), items }
    }
}

/// Reads a key that is text.
pub(crate) fn text(key: &[u8]) -> Option<String> {
    str::from_utf8(key).ok().filter(|text| !text.is_empty() && !text.contains('\0')).map(str::to_owned)
}

/// Reads a key that is an id.
pub(crate) fn id<I: From<[u8; 16]>>(key: &[u8]) -> Option<I> {
    <[u8; 16]>::try_from(key).ok().map(I::from)
}
