//! The query of a request, read strictly: a wrong value is an error, never clamped.

use std::ops::RangeInclusive;

use actix_web::HttpRequest;

use super::params::{Malformed, MalformedParam, Params, Repeated};
use crate::error::{Code, Error, FieldError};

/// The parameters of a query. Errors are validation errors (422).
pub(crate) struct Query(Params);

impl Query {
    /// Reads the query of a request.
    pub(crate) fn of(req: &HttpRequest) -> Result<Self, Error> {
        Self::parse(req.query_string())
    }

    fn parse(query: &str) -> Result<Self, Error> {
        Params::parse(query.as_bytes()).map(Self).map_err(|MalformedParam { name, reason }| match reason {
            Malformed::Nul => FieldError::new(name, Code::Format, "must not contain U+0000").into(),
            Malformed::PercentSign | Malformed::NotUtf8 => {
                Error::invalid("query", Code::Format, "must be percent-encoded UTF-8")
            }
        })
    }

    /// Returns a parameter that may occur once.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, FieldError> {
        self.0.one(name).map_err(|Repeated| FieldError::new(name, Code::Format, "must not be repeated"))
    }

    /// Returns a whole number in a range, or the default where the parameter is absent.
    pub(crate) fn number(
        &self,
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Result<i64, FieldError> {
        let Some(text) = self.one(name)? else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let message = || format!("must be a number from {} to {}", range.start(), range.end());
        number.ok_or_else(|| FieldError::new(name, Code::Format, message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_parameter_or_the_query() {
        for (query, field) in [("q=%00", "q"), ("a=1&%00q=1", "q"), ("a=1&q=%", "query"), ("q=%ff", "query")] {
            let Err(Error::Invalid(errors)) = Query::parse(query) else { panic!("{query} is accepted") };
            let fields: Vec<_> = errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
            assert_eq!(fields, [(field, Code::Format)], "{query}");
        }
    }
}
