//! The query of a request, read strictly: what is wrong is told, never clamped.

use std::ops::RangeInclusive;

use actix_web::{HttpRequest, web};

use crate::error::{Code, Error, FieldError};

/// The parameters of a query string.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of a request.
    pub(crate) fn of(req: &HttpRequest) -> Result<Self, Error> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
        let pairs = pairs.map_err(|_| Error::invalid("query", Code::Format, "the query is malformed"))?.into_inner();
        match pairs.iter().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
            Some((name, _)) => {
                let error = FieldError::new(name.replace('\0', ""), Code::Format, "must not have U+0000");
                Err(error.into())
            }
            None => Ok(Self(pairs)),
        }
    }

    /// A parameter that may be there once.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, FieldError> {
        let mut values = self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(FieldError::new(name, Code::Format, "stands there more than once"));
        }
        Ok(value)
    }

    /// A whole number in a range.
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
