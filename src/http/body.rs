//! Request bodies: read with a limit and a deadline; JSON strictly.

use std::time::Duration;

use actix_web::{
    HttpMessage, HttpRequest,
    http::StatusCode,
    web::{self, Bytes},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{problem::Problem, query::Query};
use crate::{
    error::{Code, Error, FieldError},
    patch::Patch,
};

/// As much as a body in JSON may have, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// For the whole of it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why there is no body.
pub(crate) enum Unread {
    TooSlow,
    TooLarge,
    Broken,
}

/// The whole of a body, of so many bytes at most.
pub(crate) async fn read(body: web::Payload, most: usize) -> Result<Bytes, Unread> {
    let bytes = timeout(LONGEST_WAIT, body.to_bytes_limited(most)).await.map_err(|_| Unread::TooSlow)?;
    bytes.map_err(|_| Unread::TooLarge)?.map_err(|_| Unread::Broken)
}

/// What a body in JSON may be called.
const JSON: [&str; 1] = ["application/json"];
/// What a merge patch may be called (RFC 7396 §4).
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
    let bytes = read(body, MAX_BYTES).await.map_err(|unread| match unread {
        Unread::TooSlow => Problem::of_status(StatusCode::REQUEST_TIMEOUT),
        Unread::TooLarge => Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::Broken => Problem::malformed_body("the body could not be read"),
    })?;
    // serde would take an array for a struct too.
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
    json.end().map_err(|_| Problem::malformed_body("something follows the JSON object"))?;
    Ok(object)
}

enum Wrong {
    Body(&'static str),
    /// A member's type.
    Type,
}

/// What is wrong, without a repetition of input.
fn describe(error: &serde_json::Error) -> Wrong {
    let text = error.to_string();
    if text.starts_with("unknown field") {
        Wrong::Body("the body has a member that is not known here")
    } else if text.starts_with("duplicate field") {
        Wrong::Body("a member of the body is repeated")
    } else if error.is_data() {
        Wrong::Type
    } else {
        Wrong::Body("the body is no JSON")
    }
}

/// Takes the members of a body, or the parameters of a query, one by one, and remembers all that is wrong with them.
#[derive(Default)]
pub(crate) struct Members(Vec<FieldError>);

impl Members {
    /// A member that may be absent.
    pub(crate) fn optional<T>(&mut self, member: Option<Result<T, FieldError>>) -> Option<T> {
        member?.map_err(|error| self.0.push(error)).ok()
    }

    /// One that must be there.
    pub(crate) fn required<T>(&mut self, name: &'static str, member: Option<Result<T, FieldError>>) -> Option<T> {
        self.optional(Some(member.unwrap_or_else(|| Err(FieldError::new(name, Code::Required, "is needed")))))
    }

    /// One of a patch that cannot be taken away.
    pub(crate) fn unless_null<T>(&mut self, name: &'static str, member: Patch<Result<T, FieldError>>) -> Option<T> {
        match member {
            Patch::Keep => None,
            Patch::Clear => self.required(name, None),
            Patch::Set(value) => self.optional(Some(value)),
        }
    }

    /// One of a patch that can.
    pub(crate) fn patch<T>(&mut self, member: Patch<Result<T, FieldError>>) -> Patch<T> {
        match member {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(value) => self.optional(Some(value)).map_or(Patch::Keep, Patch::Set),
        }
    }

    /// A parameter of a query that may be there once.
    pub(crate) fn parameter<T>(
        &mut self,
        query: &Query,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, FieldError>,
    ) -> Option<T> {
        self.optional(query.one(name).and_then(|text| text.map(parse).transpose()).transpose())
    }

    /// A list; what is wrong with one of its items is wrong with it.
    pub(crate) fn list<T, C: FromIterator<T>>(
        items: &[String],
        parse: impl Fn(&str) -> Result<T, FieldError>,
    ) -> Result<C, FieldError> {
        items.iter().map(|item| parse(item)).collect()
    }

    /// What was made of them, or all that is wrong. `made`: none only where something that is required is.
    pub(crate) fn finish<T>(self, made: Option<T>) -> Result<T, Error> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
