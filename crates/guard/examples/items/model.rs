//! The items and what is wrong with requests, independent of a web framework.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors};

/// As much as a body may have.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What is there, in memory.
#[derive(Default)]
pub(crate) struct Items(Mutex<Vec<Item>>);

#[derive(Clone, Serialize)]
pub(crate) struct Item {
    id: usize,
    name: String,
    price: f64,
}

impl Items {
    pub(crate) fn all(&self) -> Vec<Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add(&self, new: &NewItem) -> Item {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = new.name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let price = new.price.as_ref().and_then(Value::as_f64).unwrap_or_default();
        let item = Item { id: items.len() + 1, name, price };
        items.push(item.clone());
        item
    }
}

/// Fields of any type, so that a wrong type is one of the errors that are told together.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewItem {
    #[validate(required(message = "is needed"), custom(function = "is_name"))]
    name: Option<Value>,
    #[validate(required(message = "is needed"), custom(function = "is_price"))]
    price: Option<Value>,
}

fn is_name(name: &Value) -> Result<(), ValidationError> {
    match name.as_str() {
        None => Err(invalid("format", "must be a text")),
        Some(text) if text.contains('\0') => Err(invalid("format", "must not have U+0000")),
        Some(text) if (1..=100).contains(&text.chars().count()) => Ok(()),
        Some(_) => Err(invalid("length", "must have 1 to 100 characters")),
    }
}

fn is_price(price: &Value) -> Result<(), ValidationError> {
    let positive = price.as_f64().is_some_and(|price| price > 0.0);
    if positive { Ok(()) } else { Err(invalid("format", "must be a number greater than 0")) }
}

fn invalid(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

impl NewItem {
    /// Reads a body, which must be a JSON object with the right fields.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Problem> {
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::malformed("the body is not a JSON object"));
        }
        let new: Self = serde_json::from_slice(body).map_err(|error| {
            let known = error.is_data();
            Problem::malformed(if known {
                "a member of the body is unknown or repeated"
            } else {
                "the body is not JSON"
            })
        })?;
        new.validate()?;
        Ok(new)
    }
}

/// RFC 9457.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    r#type: String,
    title: &'static str,
    pub(crate) status: u16,
    detail: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

#[derive(Debug, Serialize)]
struct FieldError {
    field: String,
    code: String,
    message: String,
}

impl Problem {
    fn new(status: u16, kind: &str, title: &'static str, detail: &'static str) -> Self {
        Self { r#type: format!("/problems/{kind}"), title, status, detail, errors: Vec::new() }
    }

    pub(crate) fn malformed(detail: &'static str) -> Self {
        Self::new(400, "malformed-body", "Malformed body", detail)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "too-large", "Too large", "the body may have 64 KiB")
    }

    pub(crate) fn not_json() -> Self {
        Self::new(415, "unsupported-media-type", "Unsupported media type", "the body must be JSON")
    }
}

impl From<ValidationErrors> for Problem {
    /// All of them at once, in the order of the fields' names.
    fn from(invalid: ValidationErrors) -> Self {
        let mut problem = Self::new(422, "validation", "Validation failed", "some fields are wrong");
        for (field, errors) in invalid.field_errors() {
            problem.errors.extend(errors.iter().map(|error| FieldError {
                field: field.to_string(),
                code: error.code.to_string(),
                message: error.message.as_deref().unwrap_or("is wrong").to_owned(),
            }));
        }
        problem.errors.sort_by(|one, other| one.field.cmp(&other.field));
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl std::error::Error for Problem {}
