//! The form that OAuth endpoints take (RFC 6749 §3.2, appendix B).

use std::borrow::Cow;

use actix_web::{HttpMessage, HttpRequest, web};
use percent_encoding::percent_decode_str;

use super::OAuthError;
use crate::http::body::{self, Unread};

/// As much as a form may have, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The parameters of a form. It may hold secrets and therefore shows nothing of itself.
#[derive(Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a request.
    pub(crate) async fn read(req: &HttpRequest, body: web::Payload) -> Result<Self, OAuthError> {
        if !req.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError::invalid_request("the content type must be application/x-www-form-urlencoded"));
        }
        let bytes = body::read(body, MAX_BYTES).await.map_err(|unread| match unread {
            Unread::TooSlow => OAuthError::too_slow(),
            Unread::TooLarge => OAuthError::too_large(),
            Unread::Broken => OAuthError::invalid_request("the body could not be read"),
        })?;
        Self::parse(&bytes)
    }

    fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let text = str::from_utf8(body).map_err(|_| not_utf8())?;
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, OAuthError>>()?))
    }

    /// A parameter that may be there once. Without a value it counts as absent (RFC 6749 §3.1).
    pub(crate) fn optional(&self, name: &'static str) -> Result<Option<&str>, OAuthError> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(OAuthError::invalid_request(format!("the parameter {name} is repeated")));
        }
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// A parameter that must be there, once.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        let missing = || OAuthError::invalid_request(format!("the parameter {name} is missing"));
        self.optional(name)?.ok_or_else(missing)
    }

    /// A parameter that may be repeated.
    pub(crate) fn all<'f>(&'f self, name: &'static str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn not_utf8() -> OAuthError {
    OAuthError::invalid_request("the form is not UTF-8")
}

/// Decodes `application/x-www-form-urlencoded`, strictly: whatever is not said clearly is refused.
pub(crate) fn decode(text: &str) -> Result<String, OAuthError> {
    // Without an early end, so that it looks at many bytes at once: tokens are long, and most are as they are sent.
    let is_encoded = text.bytes().fold(false, |found, byte| found | matches!(byte, b'%' | b'+' | 0));
    if !is_encoded {
        return Ok(text.to_owned());
    }
    if !is_percent_encoded(text) {
        return Err(OAuthError::invalid_request("the form has a percent sign without two hexadecimal digits"));
    }
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| not_utf8())?;
    if decoded.contains('\0') {
        return Err(OAuthError::invalid_request("U+0000 is not allowed"));
    }
    Ok(decoded.into_owned())
}

fn is_percent_encoded(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    parts.all(|part| part.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_encoded_comes_back(name in "[a-z_]{1,12}", value in "[^\0]{0,40}") {
            let body = format!("a=1&{name}={}&b=", utf8_percent_encode(&value, NON_ALPHANUMERIC));
            let form = Form::parse(body.as_bytes()).unwrap();
            prop_assert!(form.0.contains(&(name, value)));
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(form) = Form::parse(&body) {
                prop_assert!(form.0.iter().all(|(name, value)| !name.contains('\0') && !value.contains('\0')));
            }
        }
    }

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
