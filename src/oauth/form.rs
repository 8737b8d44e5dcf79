//! The form that OAuth endpoints take (RFC 6749 §3.2, appendix B).

use actix_web::{HttpMessage, HttpRequest, web};

use super::OAuthError;
use crate::http::{
    body::{self, Unread},
    params::{self, Malformed, Params, Repeated},
};

/// Maximum size of a form, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The parameters of a form. Errors are OAuth's `invalid_request`.
///
/// Does not implement `Debug`: it may hold secrets.
#[derive(Default)]
pub(crate) struct Form(Params);

impl Form {
    /// Reads the body of a request.
    pub(crate) async fn read(req: &HttpRequest, body: web::Payload) -> Result<Self, OAuthError> {
        if !req.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError::invalid_request("Content-Type must be application/x-www-form-urlencoded"));
        }
        let bytes = body::read(req, body, MAX_BYTES).await.map_err(|unread| match unread {
            Unread::TooSlow => OAuthError::too_slow(),
            Unread::TooLarge => OAuthError::too_large(),
            Unread::Broken => OAuthError::invalid_request("the body could not be read"),
        })?;
        Self::parse(&bytes)
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        Params::parse(body).map(Self).map_err(|error| malformed(error.reason))
    }

    /// Returns a parameter that may occur once. Without a value it counts as absent (RFC 6749 §3.1).
    pub(crate) fn optional(&self, name: &'static str) -> Result<Option<&str>, OAuthError> {
        let repeated = |Repeated| OAuthError::invalid_request(format!("the parameter {name} is repeated"));
        Ok(self.0.one(name).map_err(repeated)?.filter(|value| !value.is_empty()))
    }

    /// Returns a parameter that must occur, once.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        let missing = || OAuthError::invalid_request(format!("the parameter {name} is missing"));
        self.optional(name)?.ok_or_else(missing)
    }

    /// Returns the values of a parameter that may be repeated.
    pub(crate) fn all<'f>(&'f self, name: &'static str) -> impl Iterator<Item = &'f str> {
        self.0.all(name)
    }
}

/// Decodes a single value in `application/x-www-form-urlencoded`.
pub(crate) fn decode(text: &str) -> Result<String, OAuthError> {
    params::decode(text).map_err(malformed)
}

fn malformed(reason: Malformed) -> OAuthError {
    OAuthError::invalid_request(match reason {
        Malformed::PercentSign => "the form has a % that is not followed by two hexadecimal digits",
        Malformed::NotUtf8 => "the form is not valid UTF-8",
        Malformed::Nul => "the form must not contain U+0000",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_once_and_not_empty() {
        let form = Form::parse(b"scope=a+b&x=1&x=2&empty=&flag").unwrap();
        assert_eq!(form.optional("scope").unwrap(), Some("a b"));
        assert!(form.optional("x").is_err());
        assert_eq!(form.optional("empty").unwrap(), None);
        assert!(form.required("flag").is_err());
        assert_eq!(form.all("x").count(), 2);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for body in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%ff", b"a=\xff", b"a=%00", b"%00=a"] {
            assert!(Form::parse(body).is_err(), "{body:?}");
        }
    }
}
