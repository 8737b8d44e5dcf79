//! OpenAPI schemas of the types.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

use crate::{Audience, Scope, Scopes};

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        text("The name of a scope (RFC 6749 section 3.3).", "items:read")
    }
}

impl ToSchema for Scope {
    /// Returns a name other than `Scope`, which is free for a type that describes a scope.
    fn name() -> Cow<'static, str> {
        "ScopeName".into()
    }
}

impl PartialSchema for Scopes {
    fn schema() -> RefOr<Schema> {
        text("Scopes, space-delimited (RFC 6749 section 3.3).", "items:read items:write")
    }
}

impl ToSchema for Scopes {
    fn name() -> Cow<'static, str> {
        "Scopes".into()
    }
}

impl PartialSchema for Audience {
    fn schema() -> RefOr<Schema> {
        let one = || ObjectBuilder::new().schema_type(Type::String);
        let description = "Audience of a token: a string, or an array of strings (RFC 7519 section 4.1.3).";
        OneOfBuilder::new().description(Some(description)).item(one()).item(ArrayBuilder::new().items(one())).into()
    }
}

impl ToSchema for Audience {
    fn name() -> Cow<'static, str> {
        "Audience".into()
    }
}

fn text(description: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).examples([example]).into()
}
