//! HTTP requests of a client, and their responses.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::ADMIN_PASSWORD;

/// Returns a client without redirects and proxies, which trusts only the certificate of these tests, and has a timeout.
pub(crate) fn http_client() -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(include_bytes!("../tls/cert.pem")).unwrap();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.tls_certs_only([certificate]);
    builder.timeout(Duration::from_mins(1)).build().unwrap()
}

/// Encodes text as `application/x-www-form-urlencoded`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

fn form_encode(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string().replace("%20", "+")
}

/// The parameters of a form, in order; names may repeat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Returns a form of these pairs.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// Returns the form of the password grant.
    pub(crate) fn password(username: &str, password: &str) -> Self {
        Self::of(&[("grant_type", "password"), ("username", username), ("password", password)])
    }

    /// Returns the form of the administrator's login.
    pub(crate) fn admin() -> Self {
        Self::password("admin", ADMIN_PASSWORD)
    }

    /// Adds a parameter, even if the form has one with this name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the value of a parameter.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// Removes a parameter.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(given, _)| given != name);
        self
    }

    /// Returns the encoded form.
    pub(crate) fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{}={}", form_encode(name), form_encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// A request to build.
#[must_use]
pub(crate) struct Request(reqwest::RequestBuilder);

impl Request {
    pub(crate) fn new(client: &reqwest::Client, method: &str, url: &str) -> Self {
        Self(client.request(method.parse().unwrap(), url))
    }

    /// Adds a header.
    pub(crate) fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self(self.0.header(name, reqwest::header::HeaderValue::from_bytes(value.as_ref()).unwrap()))
    }

    /// Adds an access token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Adds the id and secret of a client, encoded as RFC 6749 §2.3.1 requires.
    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let credentials = STANDARD.encode(format!("{}:{}", form_encode(id), form_encode(secret)));
        self.header("Authorization", format!("Basic {credentials}"))
    }

    /// Adds the name and password of a user (RFC 7617).
    pub(crate) fn basic_user(self, username: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{username}:{password}"));
        self.header("Authorization", format!("Basic {credentials}"))
    }

    /// Adds an API key.
    pub(crate) fn api_key(self, key: &str) -> Self {
        self.header("X-API-Key", key)
    }

    /// Sets a form as the body.
    pub(crate) fn form(self, form: &Form) -> Self {
        self.body("application/x-www-form-urlencoded", form.encode())
    }

    /// Sets any body.
    pub(crate) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self(self.0.header("Content-Type", content_type).body(body.into()))
    }

    /// Sets a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends the request.
    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// Sends the request to a server that may not be running.
    pub(crate) async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.0.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the value of a header, or the empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns all values of a header.
    pub(crate) fn headers_named(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks the status, and returns the body as JSON.
    #[track_caller]
    pub(crate) fn json_with(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns status, headers and body, without the headers that differ between requests and the line of `RateLimit` that counts
    /// them, to compare responses byte by byte.
    pub(crate) fn to_the_byte(&self) -> (u16, BTreeMap<String, Vec<Vec<u8>>>, Vec<u8>) {
        let mut headers = BTreeMap::<String, Vec<Vec<u8>>>::new();
        for (name, value) in &self.headers {
            let counts = name == "ratelimit" && value.as_bytes().starts_with(b"\"requests\"");
            if !counts && name != "date" && name != "x-request-id" {
                headers.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
            }
        }
        (self.status, headers, self.body.clone())
    }

    /// Checks all members of an error of the OAuth endpoints (RFC 6749 §5.2), and returns it.
    #[track_caller]
    pub(crate) fn oauth_error(&self, status: u16, error: &str) -> Value {
        let body = self.json_with(status);
        assert_eq!(body["error"], error, "{body}");
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!((self.header("cache-control"), self.header("pragma")), ("no-store", "no-cache"));
        assert!(!self.header("x-request-id").is_empty());
        let members: Vec<&String> = body.as_object().unwrap().keys().collect();
        let known = ["error", "error_description", "reason"];
        assert!(members.iter().all(|member| known.contains(&member.as_str())), "{body}");
        let description = body["error_description"].as_str().expect("a description");
        let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        assert!(!description.is_empty() && description.bytes().all(allowed), "{description}");
        body
    }

    /// Checks an error of the other routes (RFC 9457), and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        let body = self.json_with(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["type"], format!("/problems/{kind}"), "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["instance"], self.header("x-request-id"), "instance is the request's id");
        for member in ["title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
        }
        body
    }

    /// Checks that the request was refused for lack of scopes, and that the challenge has the required ones.
    #[track_caller]
    pub(crate) fn lacks(&self, scopes: &str) {
        self.problem(403, "insufficient-scope");
        let challenges = self.headers_named("www-authenticate");
        assert_eq!(challenges.len(), 1, "{challenges:?}");
        let expected = format!("error=\"insufficient_scope\", scope=\"{scopes}\"");
        assert!(challenges[0].starts_with("Bearer realm=\"grantd\", "), "{}", challenges[0]);
        assert!(challenges[0].contains(&expected), "{} lacks {expected}", challenges[0]);
    }

    /// Checks that exactly these fields are reported as invalid, with these codes.
    #[track_caller]
    pub(crate) fn wrong_fields(&self, expected: &[(&str, &str)]) {
        let body = self.problem(422, "validation");
        let errors = body["errors"].as_array().unwrap().iter();
        let found = errors.map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()));
        let found: std::collections::BTreeSet<_> = found.collect();
        assert_eq!(found, expected.iter().copied().collect(), "{body}");
    }
}
