//! Parameters in `application/x-www-form-urlencoded`: the bodies of OAuth requests and the queries of all routes.
//!
//! The encoding is read strictly. `oauth::form::Form` and `http::query::Query` translate the errors: each has a format of
//! its own.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of a form or a query, in order. A name may occur more than once.
///
/// Does not implement `Debug`: a form has passwords and tokens.
#[derive(Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// Why text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A percent sign without two hexadecimal digits after it.
    PercentSign,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// U+0000 in a name or a value.
    Nul,
}

/// A parameter that cannot be decoded.
#[derive(Debug)]
pub(crate) struct MalformedParam {
    /// The name, as far as it can be decoded. Empty where the text as a whole is not UTF-8.
    pub(crate) name: String,
    pub(crate) reason: Malformed,
}

/// A parameter that may occur once occurs more than once.
#[derive(Debug)]
pub(crate) struct Repeated;

impl Params {
    /// Parses name/value pairs. A parameter without `=` has an empty value; empty pairs are skipped.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, MalformedParam> {
        let not_utf8 = |_| MalformedParam { name: String::new(), reason: Malformed::NotUtf8 };
        let text = str::from_utf8(text).map_err(not_utf8)?;
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let malformed = |reason| MalformedParam { name: decode_lossy(name), reason };
            Ok((decode(name).map_err(malformed)?, decode(value).map_err(malformed)?))
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    /// Returns the value of a parameter that may occur once.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, Repeated> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(value) }
    }

    /// Returns the values of a parameter that may be repeated, in order.
    pub(crate) fn all<'p>(&'p self, name: &'static str) -> impl Iterator<Item = &'p str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Decodes a name or a value. Refuses what other servers might read differently.
pub(crate) fn decode(text: &str) -> Result<String, Malformed> {
    // No early exit, so that the loop is vectorized: tokens are long, and most need no decoding.
    let is_encoded = text.bytes().fold(false, |found, byte| found | matches!(byte, b'%' | b'+' | 0));
    if !is_encoded {
        return Ok(text.to_owned());
    }
    if !is_percent_encoded(text) {
        return Err(Malformed::PercentSign);
    }
    let decoded = percent_decode_str(&with_spaces(text)).decode_utf8().map_err(|_| Malformed::NotUtf8)?.into_owned();
    if decoded.contains('\0') { Err(Malformed::Nul) } else { Ok(decoded) }
}

/// Decodes the name of a parameter for an error message, without U+0000.
fn decode_lossy(name: &str) -> String {
    percent_decode_str(&with_spaces(name)).decode_utf8_lossy().replace('\0', "")
}

fn with_spaces(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) }
}

fn is_percent_encoded(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    parts.all(|part| part.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use actix_web::web;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_encoded_comes_back(name in "[a-z_]{1,12}", value in "[^\0]{0,40}") {
            let body = format!("a=1&{name}={}&b=", utf8_percent_encode(&value, NON_ALPHANUMERIC));
            let params = Params::parse(body.as_bytes()).unwrap();
            prop_assert!(params.0.contains(&(name, value)));
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(params) = Params::parse(&body) {
                prop_assert!(params.0.iter().all(|(name, value)| !name.contains('\0') && !value.contains('\0')));
            }
        }

        /// What is accepted has the meaning that actix gives it.
        #[test]
        fn accepted_text_is_decoded_as_actix_decodes_it(text in "([a-c0]|[=&+]|%[2-7][0-9a-fA-F]|%C3%A9|é|%[c-g]){0,30}") {
            if let Ok(params) = Params::parse(text.as_bytes()) {
                let expected = web::Query::<Vec<(String, String)>>::from_query(&text).unwrap().into_inner();
                prop_assert_eq!(params.0, expected);
            }
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_where_one_is_allowed() {
        let params = Params::parse(b"a+b=c+d&x=1&x=2&empty=&flag&&=v").unwrap();
        assert_eq!(params.one("a b").unwrap(), Some("c d"));
        assert!(params.one("x").is_err());
        assert_eq!(params.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((params.one("empty").unwrap(), params.one("flag").unwrap()), (Some(""), Some("")));
        assert_eq!((params.one("").unwrap(), params.one("y").unwrap()), (Some("v"), None));
    }

    #[test]
    fn malformed_parameters_are_named() {
        for (text, name, reason) in [
            (&b"a=1&b=%"[..], "b", Malformed::PercentSign),
            (b"a=%4", "a", Malformed::PercentSign),
            (b"a=%+1", "a", Malformed::PercentSign),
            (b"a=%zz", "a", Malformed::PercentSign),
            (b"a=%ff", "a", Malformed::NotUtf8),
            (b"a=%c3", "a", Malformed::NotUtf8),
            (b"a=\xff", "", Malformed::NotUtf8),
            (b"a=%00", "a", Malformed::Nul),
            (b"a=\0", "a", Malformed::Nul),
            (b"%00a+b=1", "a b", Malformed::Nul),
        ] {
            let error = Params::parse(text).err().unwrap();
            assert_eq!((error.name.as_str(), error.reason), (name, reason), "{text:?}");
        }
    }
}
