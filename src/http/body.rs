//! Request bodies: read with a size limit and a timeout. JSON is parsed strictly.

use actix_web::{
    HttpMessage, HttpRequest,
    http::StatusCode,
    web::{self, Bytes},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{problem::Problem, query::Query};
use crate::{
    app::App,
    config::Timeouts,
    error::{Code, Error, FieldError},
    patch::Patch,
};

/// Maximum size of a JSON body, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Why a body could not be read.
pub(crate) enum Unread {
    TooSlow,
    TooLarge,
    Broken,
}

/// Reads a body of at most `most` bytes, within [`Timeouts::body`].
pub(crate) async fn read(req: &HttpRequest, body: web::Payload, most: usize) -> Result<Bytes, Unread> {
    let app = req.app_data::<web::Data<App>>();
    let timeouts = app.map_or_else(Timeouts::default, |app| app.config.http.timeouts);
    let bytes = timeout(timeouts.body, body.to_bytes_limited(most)).await.map_err(|_| Unread::TooSlow)?;
    bytes.map_err(|_| Unread::TooLarge)?.map_err(|_| Unread::Broken)
}

/// Content types of a JSON body.
const JSON: [&str; 1] = ["application/json"];
/// Content types of a JSON Merge Patch (RFC 7396 §4).
const MERGE_PATCH: [&str; 2] = ["application/merge-patch+json", "application/json"];

/// Returns the object of a JSON body. Its type refuses unknown members (`deny_unknown_fields`); serde refuses repeated ones.
pub(crate) async fn json<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload) -> Result<T, Problem> {
    object(req, body, &JSON).await
}

/// Returns the object of a JSON Merge Patch (RFC 7396).
pub(crate) async fn merge_patch<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload) -> Result<T, Problem> {
    object(req, body, &MERGE_PATCH).await
}

async fn object<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload, types: &[&str]) -> Result<T, Problem> {
    if !types.iter().any(|known| req.content_type().eq_ignore_ascii_case(known)) {
        return Err(Problem::unsupported_media_type());
    }
    let bytes = read(req, body, MAX_BYTES).await.map_err(|unread| match unread {
        Unread::TooSlow => Problem::of_status(StatusCode::REQUEST_TIMEOUT),
        Unread::TooLarge => Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::Broken => Problem::malformed_body("the body could not be read"),
    })?;
    // serde would accept an array for a struct too.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::malformed_body("the body must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let object = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        match describe(error.inner()) {
            Wrong::Body(detail) => Problem::malformed_body(detail),
            Wrong::Type => Error::from(FieldError::new(field, Code::Format, "has the wrong type")).into(),
        }
    })?;
    json.end().map_err(|_| Problem::malformed_body("the body must end after the JSON object"))?;
    Ok(object)
}

enum Wrong {
    Body(String),
    /// A member has the wrong type.
    Type,
}

/// Longest name of a member that an error repeats, in bytes.
const MAX_NAME: usize = 64;

/// Describes an error. Repeats the name of a member, and no other input: it may hold a password.
fn describe(error: &serde_json::Error) -> Wrong {
    let text = error.to_string();
    if let Some(rest) = text.strip_prefix("unknown field `") {
        Wrong::Body(match plain_name(rest) {
            Some(name) => format!("unknown member {name}; see /docs for the members of this body"),
            None => "the body has an unknown member; see /docs for the members of this body".to_owned(),
        })
    } else if let Some(rest) = text.strip_prefix("duplicate field `") {
        Wrong::Body(match plain_name(rest) {
            Some(name) => format!("the member {name} is repeated"),
            None => "a member of the body is repeated".to_owned(),
        })
    } else if error.is_data() {
        Wrong::Type
    } else {
        Wrong::Body(format!("the body is not valid JSON: line {}, column {}", error.line(), error.column()))
    }
}

/// Returns the name before the next backtick, if it looks like one. Anything else may be a value in the wrong place.
fn plain_name(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('`')?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    (plain && (1..=MAX_NAME).contains(&name.len())).then_some(name)
}

/// Validates the members of a body or the parameters of a query, and collects all errors.
#[derive(Default)]
pub(crate) struct Members(Vec<FieldError>);

impl Members {
    /// Takes an optional member.
    pub(crate) fn optional<T>(&mut self, member: Option<Result<T, FieldError>>) -> Option<T> {
        member?.map_err(|error| self.0.push(error)).ok()
    }

    /// Takes a required member.
    pub(crate) fn required<T>(&mut self, name: &'static str, member: Option<Result<T, FieldError>>) -> Option<T> {
        self.optional(Some(member.unwrap_or_else(|| Err(FieldError::new(name, Code::Required, "is required")))))
    }

    /// Takes a member of a patch that cannot be removed.
    pub(crate) fn unless_null<T>(&mut self, name: &'static str, member: Patch<Result<T, FieldError>>) -> Option<T> {
        match member {
            Patch::Keep => None,
            Patch::Clear => self.required(name, None),
            Patch::Set(value) => self.optional(Some(value)),
        }
    }

    /// Takes a member of a patch that can be removed.
    pub(crate) fn patch<T>(&mut self, member: Patch<Result<T, FieldError>>) -> Patch<T> {
        match member {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(value) => self.optional(Some(value)).map_or(Patch::Keep, Patch::Set),
        }
    }

    /// Takes an optional parameter of a query, which may occur once.
    pub(crate) fn parameter<T>(
        &mut self,
        query: &Query,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, FieldError>,
    ) -> Option<T> {
        self.optional(query.one(name).and_then(|text| text.map(parse).transpose()).transpose())
    }

    /// Parses the items of a list. An error in one item is an error of the list.
    pub(crate) fn list<T, C: FromIterator<T>>(
        items: &[String],
        parse: impl Fn(&str) -> Result<T, FieldError>,
    ) -> Result<C, FieldError> {
        items.iter().map(|item| parse(item)).collect()
    }

    /// Returns the result, or all errors. `made` is `None` only if a required member is missing or invalid.
    pub(crate) fn finish<T>(self, made: Option<T>) -> Result<T, Error> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
