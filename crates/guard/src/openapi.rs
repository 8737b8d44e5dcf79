//! Schemas for OpenAPI documents: in JSON both types are strings.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{Scope, Scopes};

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        text("The name of a scope (RFC 6749 section 3.3).", "items:read")
    }
}

impl ToSchema for Scope {
    fn name() -> Cow<'static, str> {
        "Scope".into()
    }
}

impl PartialSchema for Scopes {
    fn schema() -> RefOr<Schema> {
        text("Scopes with one space between (RFC 6749 section 3.3).", "items:read items:write")
    }
}

impl ToSchema for Scopes {
    fn name() -> Cow<'static, str> {
        "Scopes".into()
    }
}

fn text(description: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).examples([example]).into()
}
